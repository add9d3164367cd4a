"use client";

import { CheckIcon } from "@/components/icons";
import { authClient } from "@/lib/auth-client";
import { moveOn } from "@/lib/session-change";
import Link from "next/link";

export function Brand() {
  return (
    <Link className="brand" href="/">
      <span className="brand-mark">
        <CheckIcon />
      </span>
      To-do
    </Link>
  );
}

export function Header({ name }: { name: string }) {
  async function signOut() {
    await authClient.signOut();
    moveOn("/sign-in");
  }
  return (
    <header className="bar">
      <div className="column">
        <Brand />
        <nav aria-label="Account">
          <Link href="/account">{name.trim() || "Account"}</Link>
          <button className="quiet" onClick={signOut}>
            Sign out
          </button>
        </nav>
      </div>
    </header>
  );
}
