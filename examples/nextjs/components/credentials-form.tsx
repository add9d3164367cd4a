"use client";

import { Field } from "@/components/field";
import { Brand } from "@/components/header";
import { authClient } from "@/lib/auth-client";
import Link from "next/link";
import { useState, type FormEvent } from "react";

type Refusal = { code?: string; message?: string; status: number };
type FieldName = "email" | "password" | "form";

/** Return the field that Better Auth's refusal is about, and what to say there. */
function explain({ code = "", message, status }: Refusal): { field: FieldName; text: string } {
  if (status === 401) return { field: "form", text: "The e-mail address or the password is wrong." };
  if (code.startsWith("USER_ALREADY_EXISTS"))
    return { field: "email", text: "There is an account with this address already." };
  if (code.includes("EMAIL")) return { field: "email", text: "Write a valid e-mail address." };
  if (code === "PASSWORD_TOO_SHORT")
    return { field: "password", text: "Use at least 8 characters." };
  if (code === "PASSWORD_TOO_LONG") return { field: "password", text: "Use a shorter password." };
  return { field: "form", text: message || "That did not work. Try again shortly." };
}

export function CredentialsForm({ mode }: { mode: "sign-in" | "sign-up" }) {
  const [problem, setProblem] = useState<{ field: FieldName; text: string }>();
  const [busy, setBusy] = useState(false);
  const isNew = mode === "sign-up";

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const { name, email, password } = Object.fromEntries(new FormData(form)) as Record<string, string>;
    setBusy(true);
    const { error } = await (isNew
      ? authClient.signUp.email({ name: name!, email: email!, password: password! })
      : authClient.signIn.email({ email: email!, password: password! })
    ).catch(() => ({ error: { status: 0 } as Refusal }));
    if (!error) return window.location.assign("/");
    setBusy(false);
    const explained = explain(error);
    setProblem(explained);
    const field = explained.field === "form" ? "password" : explained.field;
    (form.elements.namedItem(field) as HTMLInputElement).focus();
  }

  const errorOf = (field: FieldName) => (problem?.field === field ? problem.text : undefined);

  return (
    <main className="column narrow">
      <Brand />
      <div className="card padded">
        <h1>{isNew ? "Create your account" : "Welcome back"}</h1>
        <form onSubmit={submit} noValidate aria-label={isNew ? "Sign up" : "Sign in"}>
          {isNew && <Field label="Name" name="name" autoComplete="name" />}
          <Field
            label="E-mail"
            name="email"
            type="email"
            autoComplete="username"
            error={errorOf("email")}
          />
          <Field
            label="Password"
            name="password"
            type="password"
            autoComplete={isNew ? "new-password" : "current-password"}
            hint={isNew ? "At least 8 characters." : undefined}
            error={errorOf("password")}
          />
          <p role="alert" className="alert">
            {errorOf("form")}
          </p>
          <button className="primary" disabled={busy}>
            {isNew ? "Sign up" : "Sign in"}
          </button>
        </form>
      </div>
      <p className="aside">
        {isNew ? "Have an account?" : "New here?"}{" "}
        <Link href={isNew ? "/sign-in" : "/sign-up"}>{isNew ? "Sign in" : "Create an account"}</Link>
      </p>
    </main>
  );
}
