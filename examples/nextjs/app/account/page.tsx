import { AccountPanel } from "@/components/account-panel";
import { Header } from "@/components/header";
import { auth } from "@/lib/auth";
import type { Metadata } from "next";
import { headers } from "next/headers";
import { redirect } from "next/navigation";

export const metadata: Metadata = { title: "Account" };

export default async function Account() {
  const session = await auth.api.getSession({ headers: await headers() });
  if (!session) redirect("/sign-in");
  const { name, email, emailVerified } = session.user;
  const backend = process.env.BACKEND_PUBLIC_URL ?? process.env.BACKEND_URL ?? "http://localhost:8000";
  return (
    <>
      <Header name={name} />
      <main className="column">
        <h1>Account</h1>
        <AccountPanel backend={backend} name={name} email={email} isVerified={emailVerified} />
      </main>
    </>
  );
}
