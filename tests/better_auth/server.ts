// Serves one set-up, named on the command line, as Next.js would: on the socket that it inherits.
import { betterAuth, type BetterAuthOptions } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import { createServer } from "node:http";
import { register } from "node:module";

// Next.js finds "./database" without an ending; Node.js has to be told.
const endings = `export const resolve = (name, context, next) =>
  next(/^\\.\\.?\\/[^.]*$/.test(name) ? name + ".js" : name, context);`;
register(`data:text/javascript,${encodeURIComponent(endings)}`);

const name = process.argv[2]!;
const isExample = name.startsWith("lib/");
const options: BetterAuthOptions = isExample
  ? (await import(`../../examples/nextjs/${name}.js`)).auth.options
  : (await import("./variants.js")).variants[name]!;

if (isExample) await (await getMigrations(options)).runMigrations();

// For tests of what happens to users whose e-mail address changes.
const changeEmail = { enabled: true, updateEmailWithoutVerification: true };
const served = betterAuth({ ...options, user: { ...options.user, changeEmail } });
createServer(toNodeHandler(served)).listen({ fd: Number(process.env.LISTEN_FD) });
