// Better Auth numbers its users, as the backend does, and its keys.
import { betterAuth } from "better-auth";
import { jwt } from "better-auth/plugins";
import { database } from "./database";

export const auth = betterAuth({
  database,
  advanced: { database: { generateId: "serial" } },
  emailAndPassword: { enabled: true },
  plugins: [
    jwt({
      jwt: {
        ...(process.env.EMAIL_AS_SUBJECT && { getSubject: ({ user }) => user.email }),
      },
    }),
  ],
});
