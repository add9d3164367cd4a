"use client";

import { authClient } from "@/lib/auth-client";
import { useState } from "react";

/** Sends the e-mail that verifies the address, as often as it takes. */
export function VerifyButton({ email }: { email: string }) {
  const [sent, setSent] = useState<boolean>();

  async function send() {
    const { error } = await authClient
      .sendVerificationEmail({ email, callbackURL: "/" })
      .catch((error: unknown) => ({ error }));
    setSent(!error);
  }

  return (
    <>
      {sent === false && <p role="alert">The e-mail could not be sent. Try again shortly.</p>}
      {sent ? (
        <p role="status">We have sent a link to {email}.</p>
      ) : (
        <button onClick={send}>Send a verification e-mail</button>
      )}
    </>
  );
}
