// Users who may write a field that is called as a claim, and three ways to make the payload.
import { betterAuth } from "better-auth";
import { jwt } from "better-auth/plugins";
import { database } from "./database";

const payloads = {
  default: undefined,
  named: ({ user }: { user: { email: string; emailVerified: boolean } }) => ({
    email: user.email,
    emailVerified: user.emailVerified,
  }),
  nothing: () => ({}),
};

export const auth = betterAuth({
  database,
  emailAndPassword: { enabled: true },
  user: {
    additionalFields: {
      aud: { type: "string", required: false },
      exp: { type: "number", required: false },
    },
  },
  plugins: [
    jwt({
      jwt: {
        definePayload: payloads[process.env.PAYLOAD as keyof typeof payloads],
      },
    }),
  ],
});
