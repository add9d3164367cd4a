// A trap: next.config.ts rewrites all of /all/*, and this route is never reached.
export const GET = () => Response.json({ answered: "by the front end" });
