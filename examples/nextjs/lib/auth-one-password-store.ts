// Set-up C, one password store: like B, and the service's hash of a password is the only one.
import { getCurrentAuthEndpointContext } from "@better-auth/core/context";
import { betterAuth, type GenericEndpointContext } from "better-auth";
import { APIError, getSessionFromCtx } from "better-auth/api";
import { jwt } from "better-auth/plugins";
import { database } from "./database";
import { backendFields, createAtBackend, deleteAccount, logIn } from "./todo-backend";

export const auth = betterAuth({
  database,
  emailAndPassword: {
    enabled: true,
    password: {
      // Better Auth stores what `hash` returns and passes it to `verify`: here it is not a hash, but
      // the e-mail address to ask the service about.
      hash: async (password) => {
        const context = getCurrentAuthEndpointContext();
        const { email } = context.body as { email: string };
        if (context.path === "/sign-up/email") return email.toLowerCase();
        if (context.path === "/sign-in/email") {
          // Unknown address: take as long to refuse it as for a known one.
          await logIn(email, password, context.headers);
          return "";
        }
        throw new APIError("NOT_IMPLEMENTED", {
          code: "PASSWORD_KEPT_BY_BACKEND",
          message: "Passwords cannot be changed here.",
        });
      },
      verify: async ({ hash: email, password }) => {
        const context = getCurrentAuthEndpointContext() as GenericEndpointContext;
        const found =
          context.path === "/sign-in/email"
            ? await context.context.internalAdapter.findUserByEmail(context.body.email.toLowerCase())
            : await getSessionFromCtx(context);
        const { backendId } = found!.user as { backendId?: string };
        // An account that was made later may have this address: its password is not this user's.
        return backendId === (await logIn(email, password, context.headers)) && backendId !== undefined;
      },
    },
  },
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
        definePayload: ({ user }) => ({
          email: user.backendEmail ?? user.email,
          emailVerified: user.emailVerified,
        }),
      },
    }),
  ],
});
