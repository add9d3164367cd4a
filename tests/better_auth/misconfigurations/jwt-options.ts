// Better Auth with whatever options of the JWT plugin the test asks for.
import { betterAuth } from "better-auth";
import { jwt } from "better-auth/plugins";
import { database } from "./database";

export const auth = betterAuth({
  database,
  emailAndPassword: { enabled: true },
  plugins: [jwt(JSON.parse(process.env.JWT_OPTIONS ?? "{}"))],
});
