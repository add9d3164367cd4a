// Replace this with your mailer. Until then, links appear where the front end prints its log.
import { appendFile } from "node:fs/promises";

export async function sendEmail(email: { to: string; subject: string; link: string }) {
  if (process.env.MAILBOX) await appendFile(process.env.MAILBOX, `${JSON.stringify(email)}\n`);
  else console.info(`E-mail to ${email.to}: ${email.subject}: ${email.link}`);
}
