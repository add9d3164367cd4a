// Better Auth as Neon runs it, by Neon's documentation: the paths, the ids and the payload of its tokens.
import { betterAuth } from "better-auth";
import { admin, jwt } from "better-auth/plugins";
import { database } from "./misconfigurations/database";

export const auth = betterAuth({
  basePath: "/neondb/auth",
  database,
  emailAndPassword: { enabled: true },
  advanced: { database: { generateId: "uuid" } },
  plugins: [
    admin({ defaultRole: "authenticated" }),
    jwt({
      jwks: { jwksPath: "/.well-known/jwks.json" },
      // The store in memory leaves out what is null.
      jwt: {
        definePayload: ({ user }) => ({ ...user, image: null, banReason: null, banExpires: null }),
      },
    }),
  ],
});
