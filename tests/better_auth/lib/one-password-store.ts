// Set-up C, one password store: as B, and the only hash of a password is the backend's.
import { getCurrentAuthEndpointContext } from "@better-auth/core/context";
import { betterAuth } from "better-auth";
import { APIError } from "better-auth/api";
import { jwt } from "better-auth/plugins";
import { database } from "./database.ts";
import { backendFields, createAtBackend, passwordIsRight } from "./todo-backend.ts";

export const auth = betterAuth({
  database,
  emailAndPassword: {
    enabled: true,
    password: {
      // Better Auth keeps what `hash` gives, and hands it to `verify`: here it is no hash but the
      // e-mail address to ask the backend about.
      hash: async (password) => {
        const context = getCurrentAuthEndpointContext();
        const { email } = context.body as { email: string };
        if (context.path === "/sign-up/email") return email.toLowerCase();
        if (context.path === "/sign-in/email") {
          // Nobody here has this address: take as long to say so as for somebody who does.
          await passwordIsRight(email, password, context.headers);
          return "";
        }
        throw new APIError("NOT_IMPLEMENTED", {
          code: "PASSWORD_KEPT_BY_BACKEND",
          message: "Passwords cannot be changed here.",
        });
      },
      verify: ({ hash: email, password }) =>
        passwordIsRight(email, password, getCurrentAuthEndpointContext().headers),
    },
  },
  user: { additionalFields: backendFields },
  databaseHooks: { user: { create: { before: createAtBackend } } },
  plugins: [
    jwt({
      jwt: {
        audience: "todo-backend",
        getSubject: ({ user }) => user.backendId ?? user.id,
        definePayload: ({ user }) => ({
          email: user.backendEmail ?? user.email,
          emailVerified: user.emailVerified,
        }),
      },
    }),
  ],
});
