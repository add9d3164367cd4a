// Set-up B without the hook that asks for a backendId: what getSubject then gives, as it is written.
// The visitor's name says which of them it is.
import { betterAuth } from "better-auth";
import { jwt } from "better-auth/plugins";
import { database } from "./database";

type User = Record<string, any>;

// user.backendId is `any`, so that no compiler warns of any of these.
const subjects: Record<string, (user: User) => string> = {
  undefined: (user) => user.backendId,
  template: (user) => `${user.backendId}`,
  number: (user) => user.createdAt.getTime(),
  empty: () => "",
};

export const auth = betterAuth({
  database,
  emailAndPassword: { enabled: true },
  plugins: [
    jwt({
      jwt: {
        getSubject: ({ user }) => subjects[user.name]!(user),
      },
    }),
  ],
});
