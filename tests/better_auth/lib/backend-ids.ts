// Set-up B, backend ids: each user has an account at the backend from the start, and the tokens
// carry its id. Both sides keep a hash of the password; signing in asks Better Auth's alone.
import { betterAuth } from "better-auth";
import { jwt } from "better-auth/plugins";
import { database } from "./database.ts";
import { backendFields, createAtBackend } from "./todo-backend.ts";

export const auth = betterAuth({
  database,
  emailAndPassword: { enabled: true },
  user: {
    additionalFields: backendFields,
    changeEmail: { enabled: true, updateEmailWithoutVerification: true },
  },
  databaseHooks: { user: { create: { before: createAtBackend } } },
  plugins: [
    jwt({
      jwt: {
        audience: "todo-backend",
        getSubject: ({ user }) => user.backendId ?? user.id,
        // The backend refuses an id whose e-mail address is another than the token's: so it is the
        // one that the backend knows, however often the user changes theirs here.
        definePayload: ({ user }) => ({
          email: user.backendEmail ?? user.email,
          emailVerified: user.emailVerified,
        }),
      },
    }),
  ],
});
