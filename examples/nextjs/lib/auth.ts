// Set-up A, stock: Better Auth keeps the users; the service creates an account at the first request.
import { betterAuth } from "better-auth";
import { jwt } from "better-auth/plugins";
import { database } from "./database";
import { sendEmail } from "./email";
import { deleteAccount } from "./todo-backend";

export const auth = betterAuth({
  database,
  emailAndPassword: {
    enabled: true,
    revokeSessionsOnPasswordReset: true,
    sendResetPassword: ({ user, url }) =>
      sendEmail({ to: user.email, subject: "Choose a new password", link: url }),
  },
  emailVerification: {
    sendOnSignUp: true,
    sendVerificationEmail: ({ user, url }) =>
      sendEmail({ to: user.email, subject: "Verify your e-mail address", link: url }),
  },
  user: {
    deleteUser: {
      enabled: true,
      beforeDelete: async (_user, request): Promise<void> => {
        const { token } = await auth.api.getToken({ headers: request!.headers });
        await deleteAccount(token);
      },
    },
  },
  plugins: [jwt()],
});
