// Set-up B, backend ids: sign-up creates the account at the service, and tokens carry its id.
import { betterAuth } from "better-auth";
import { jwt } from "better-auth/plugins";
import { database } from "./database";
import { backendFields, createAtBackend, deleteAccount } from "./todo-backend";

export const auth = betterAuth({
  database,
  emailAndPassword: { enabled: true },
  user: {
    additionalFields: backendFields,
    deleteUser: {
      enabled: true,
      beforeDelete: async (_user, request): Promise<void> => {
        const { token } = await auth.api.getToken({ headers: request!.headers });
        await deleteAccount(token);
      },
    },
  },
  databaseHooks: { user: { create: { before: createAtBackend } } },
  plugins: [
    jwt({
      jwt: {
        getSubject: ({ user }) => user.backendId ?? user.id,
        // The service refuses a token whose email is not the account's, so send the one that the
        // account was created with, even after the user has changed it here.
        definePayload: ({ user }) => ({
          email: user.backendEmail ?? user.email,
          emailVerified: user.emailVerified,
        }),
      },
    }),
  ],
});
