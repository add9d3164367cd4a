import { CredentialsForm } from "@/components/credentials-form";
import { auth } from "@/lib/auth";
import type { Metadata } from "next";
import { headers } from "next/headers";
import { redirect } from "next/navigation";

export const metadata: Metadata = { title: "Sign in" };

export default async function SignIn() {
  if (await auth.api.getSession({ headers: await headers() })) redirect("/");
  return <CredentialsForm mode="sign-in" />;
}
