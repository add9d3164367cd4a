// Set-up B without the hook that asks for a backendId: what getSubject then gives, as it is written.
import { betterAuth } from "better-auth";
import { jwt } from "better-auth/plugins";
import { database } from "../lib/database.ts";

type GetSubject = NonNullable<
  NonNullable<NonNullable<Parameters<typeof jwt>[0]>["jwt"]>["getSubject"]
>;

const subjects: Record<string, GetSubject> = {
  // user.backendId is `any`, so that no compiler warns of any of these.
  undefined: ({ user }) => user.backendId,
  template: ({ user }) => `${user.backendId}`,
  number: ({ user }) => user.name.length as unknown as string,
  empty: () => "",
};

export const auth = betterAuth({
  database,
  emailAndPassword: { enabled: true },
  plugins: [
    jwt({
      jwt: {
        audience: "todo-backend",
        getSubject: subjects[process.env.GET_SUBJECT as string],
      },
    }),
  ],
});
