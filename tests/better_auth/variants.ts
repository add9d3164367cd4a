// Better Auth in other ways than the example's: with options of the tests, as Neon runs it, and wrong.
import type { BetterAuthOptions } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { admin, jwt } from "better-auth/plugins";

type JwtOptions = NonNullable<NonNullable<Parameters<typeof jwt>[0]>["jwt"]>;
type User = Record<string, any>;

const database = memoryAdapter({ user: [], session: [], account: [], verification: [], jwks: [] });

/** What getSubject gives where nothing asks for a backendId, by the name of the visitor. */
const subjects: Record<string, (user: User) => string> = {
  // user.backendId is `any`, so that no compiler warns of any of these.
  undefined: (user) => user.backendId,
  template: (user) => `${user.backendId}`,
  number: (user) => user.createdAt.getTime(),
  empty: () => "",
};

/** Fields that a user may write, and that are also claims. */
const additionalFields = {
  aud: { type: "string", required: false },
  exp: { type: "number", required: false },
} as const;

const withJwt = (options: JwtOptions, more: BetterAuthOptions = {}): BetterAuthOptions => ({
  database,
  emailAndPassword: { enabled: true },
  plugins: [jwt({ jwt: options })],
  ...more,
});

export const variants: Record<string, BetterAuthOptions> = {
  options: withJwt({}, { plugins: [jwt(JSON.parse(process.env.JWT_OPTIONS ?? "{}"))] }),
  "whole-user": withJwt({}, { user: { additionalFields } }),
  "listed-fields": withJwt(
    { definePayload: ({ user: { email, emailVerified } }) => ({ email, emailVerified }) },
    { user: { additionalFields } },
  ),
  "no-fields": withJwt({ definePayload: () => ({}) }),
  "serial-ids": withJwt({}, { advanced: { database: { generateId: "serial" } } }),
  "broken-subject": withJwt({ getSubject: ({ user }) => subjects[user.name]!(user) }),
  // By Neon's documentation: the paths, the ids and the payload of its tokens.
  neon: withJwt({}, {
    basePath: "/neondb/auth",
    advanced: { database: { generateId: "uuid" } },
    plugins: [
      admin({ defaultRole: "authenticated" }),
      jwt({
        jwks: { jwksPath: "/.well-known/jwks.json" },
        // The store in memory leaves out what is null.
        jwt: { definePayload: ({ user }) => ({ ...user, image: null, banReason: null, banExpires: null }) },
      }),
    ],
  }),
};
