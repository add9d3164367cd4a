// Set-up A, stock: Better Auth keeps the users, and the backend gets to know them by their tokens.
import { betterAuth } from "better-auth";
import { jwt } from "better-auth/plugins";
import { database } from "./database.ts";
import { sendEmail } from "./email.ts";

export const auth = betterAuth({
  database,
  emailAndPassword: { enabled: true },
  emailVerification: {
    sendVerificationEmail: ({ user, url }) =>
      sendEmail({ to: user.email, subject: "Verify your e-mail address", link: url }),
  },
  user: { changeEmail: { enabled: true, updateEmailWithoutVerification: true } },
  plugins: [jwt({ jwt: { audience: "todo-backend" } })],
});
