// Replace this with your mailer.
import { appendFile } from "node:fs/promises";

export async function sendEmail(email: { to: string; subject: string; link: string }) {
  await appendFile(process.env.MAILBOX ?? "/dev/null", `${JSON.stringify(email)}\n`);
}
