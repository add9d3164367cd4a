import { CredentialsForm } from "@/components/credentials-form";
import type { Metadata } from "next";
import { redirect } from "next/navigation";

export const metadata: Metadata = { title: "New password" };

type Props = { searchParams: Promise<{ token?: string }> };

/** Where the link of the e-mail leads to. */
export default async function ResetPassword({ searchParams }: Props) {
  const { token } = await searchParams;
  // A link that is too old, or was used before, comes with an error and without a token.
  if (!token) redirect("/forgot-password?error=INVALID_TOKEN");
  return <CredentialsForm mode="reset-password" token={token} />;
}
