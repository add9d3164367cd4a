"use client";

import { Field } from "@/components/field";
import { Brand } from "@/components/header";
import { authClient } from "@/lib/auth-client";
import { moveOn } from "@/lib/session-change";
import Link from "next/link";
import { useState, type FormEvent } from "react";

type Values = { name: string; email: string; password: string; token: string };
type Refusal = { code?: string; message?: string; status: number };
/** What to say beside each field; "form" is for what concerns none of them. */
type Problems = Partial<Record<"name" | "email" | "password" | "form", string>>;

const NAME = { label: "Name", name: "name", autoComplete: "name", pattern: ".*\\S.*" } as const;
const EMAIL = { label: "E-mail", name: "email", type: "email", autoComplete: "username" } as const;
const PASSWORD = {
  label: "Password",
  name: "password",
  type: "password",
  autoComplete: "current-password",
} as const;
const NEW_PASSWORD = {
  ...PASSWORD,
  autoComplete: "new-password",
  hint: "At least 8 characters.",
} as const;

const MODES = {
  "sign-in": {
    title: "Welcome back",
    action: "Sign in",
    fields: [EMAIL, PASSWORD],
    send: ({ email, password }: Values) => authClient.signIn.email({ email, password }),
    done: undefined,
    links: [
      { href: "/forgot-password", text: "Forgot your password?" },
      { href: "/sign-up", text: "Create an account" },
    ],
  },
  "sign-up": {
    title: "Create your account",
    action: "Sign up",
    fields: [NAME, EMAIL, NEW_PASSWORD],
    send: ({ name, email, password }: Values) => authClient.signUp.email({ name, email, password }),
    done: undefined,
    links: [{ href: "/sign-in", text: "Sign in with an account" }],
  },
  "forgot-password": {
    title: "Forgot your password?",
    action: "Send a link",
    fields: [EMAIL],
    send: ({ email }: Values) =>
      authClient.requestPasswordReset({ email, redirectTo: "/reset-password" }),
    // The same whether or not there is such an account.
    done: "If there is an account with this address, a link to choose a new password is on its way.",
    links: [{ href: "/sign-in", text: "Back to sign-in" }],
  },
  "reset-password": {
    title: "Choose a new password",
    action: "Save",
    fields: [NEW_PASSWORD],
    send: ({ password, token }: Values) =>
      authClient.resetPassword({ newPassword: password, token }),
    done: "Your new password is saved.",
    links: [{ href: "/sign-in", text: "Sign in" }],
  },
};

const WORDS = {
  name: "Write your name.",
  email: "Write a valid e-mail address.",
  password: "Write your password.",
} as const;

/** Return what the form lacks before it is sent. */
function check(form: HTMLFormElement): Problems {
  const problems: Problems = {};
  for (const name of Object.keys(WORDS) as (keyof typeof WORDS)[]) {
    const input = form.elements.namedItem(name) as HTMLInputElement | null;
    if (input && !input.validity.valid) problems[name] = WORDS[name];
  }
  return problems;
}

/** Return what Better Auth's refusal says about which field. */
function explain({ code = "", message = "", status }: Refusal): Problems {
  if (code === "VALIDATION_ERROR") {
    // Such as "[body.email] Invalid email address; [body.password] …".
    const named = Object.entries(WORDS).filter(([name]) => message.includes(`[body.${name}]`));
    if (named.length > 0) return Object.fromEntries(named);
  }
  if (status === 401) return { form: "The e-mail address or the password is wrong." };
  if (code === "INVALID_TOKEN") return { form: "This link is too old. Ask for a new one." };
  if (code.startsWith("USER_ALREADY_EXISTS"))
    return { email: "There is an account with this address already." };
  if (code.includes("EMAIL")) return { email: WORDS.email };
  if (code === "PASSWORD_TOO_SHORT") return { password: "Use at least 8 characters." };
  if (code === "PASSWORD_TOO_LONG") return { password: "Use a shorter password." };
  return { form: message || "That did not work. Try again shortly." };
}

type Props = { mode: keyof typeof MODES; token?: string; alert?: string };

export function CredentialsForm({ mode, token = "", alert }: Props) {
  const { title, action, fields, send, done, links } = MODES[mode];
  const [problems, setProblems] = useState<Problems>({ form: alert });
  const [busy, setBusy] = useState(false);
  const [isDone, setDone] = useState(false);

  function show(form: HTMLFormElement, found: Problems) {
    setProblems(found);
    const first = fields.find(({ name }) => found[name]) ?? fields.at(-1)!;
    (form.elements.namedItem(first.name) as HTMLInputElement).focus();
  }

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const lacking = check(form);
    if (Object.keys(lacking).length > 0) return show(form, lacking);
    setBusy(true);
    const values = { ...Object.fromEntries(new FormData(form)), token } as Values;
    const { error } = await send(values).catch(() => ({ error: { status: 0 } as Refusal }));
    if (!error && !done) return moveOn("/");
    setBusy(false);
    if (error) return show(form, explain(error));
    setProblems({});
    setDone(true);
  }

  return (
    <main className="column narrow">
      <Brand />
      <div className="card padded">
        <h1>{title}</h1>
        <p role="status">{isDone && done}</p>
        {!isDone && (
          // "post" keeps the password out of the address if the form is sent before its script runs.
          <form method="post" onSubmit={submit} noValidate aria-label={action}>
            {fields.map((field) => (
              <Field key={field.name} required {...field} error={problems[field.name]} />
            ))}
            <p role="alert" className="alert">
              {problems.form}
            </p>
            <button className="primary" disabled={busy}>
              {action}
            </button>
          </form>
        )}
      </div>
      <p className="aside">
        {links.map(({ href, text }) => (
          <Link key={href} href={href}>
            {text}
          </Link>
        ))}
      </p>
    </main>
  );
}
