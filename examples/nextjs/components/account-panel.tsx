"use client";

import { Field } from "@/components/field";
import { VerifyButton } from "@/components/verify-button";
import { createApi, inWords, unwrap } from "@/lib/api";
import { authClient } from "@/lib/auth-client";
import { moveOn } from "@/lib/session-change";
import { getToken } from "@/lib/token";
import { useState, type FormEvent } from "react";

type Props = { backend: string; name: string; email: string; isVerified: boolean };

export function AccountPanel({ backend, name, email, isVerified }: Props) {
  const [alert, setAlert] = useState("");
  const [wrongPassword, setWrongPassword] = useState<string>();

  async function download() {
    try {
      const api = createApi(backend, getToken);
      const { data } = await unwrap(api.GET("/api/auth/me/export"));
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([JSON.stringify(data, null, 2)]));
      link.download = "tasks.json";
      link.click();
      URL.revokeObjectURL(link.href);
    } catch (error) {
      setAlert(inWords(error));
    }
  }

  async function remove(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const password = String(new FormData(event.currentTarget).get("password"));
    // lib/auth.ts deletes the tasks at the service before the user.
    const { error } = await authClient.deleteUser({ password });
    if (!error) return moveOn("/sign-up");
    const isWrong = error.code === "INVALID_PASSWORD";
    setWrongPassword(isWrong ? "This is not your password." : undefined);
    setAlert(isWrong ? "" : (error.message ?? "That did not work. Try again shortly."));
  }

  return (
    <>
      <p role="alert" className="alert">
        {alert}
      </p>
      <section className="card padded">
        <h2>{name.trim() || "Account"}</h2>
        <p>
          {email}
          {!isVerified && " (not verified)"}
        </p>
        {!isVerified && <VerifyButton email={email} />}
        <button onClick={download}>Download my data</button>
      </section>
      <section className="card padded">
        <h2>Delete the account</h2>
        <p>This deletes you and all your tasks at once and for good.</p>
        <form onSubmit={remove} noValidate>
          {/* For password managers. */}
          <input hidden readOnly autoComplete="username" value={email} />
          <Field
            label="Your password"
            name="password"
            type="password"
            autoComplete="current-password"
            error={wrongPassword}
          />
          <button className="danger">Delete my account</button>
        </form>
      </section>
    </>
  );
}
