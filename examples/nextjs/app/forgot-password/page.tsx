import { CredentialsForm } from "@/components/credentials-form";
import type { Metadata } from "next";

export const metadata: Metadata = { title: "Forgot your password?" };

type Props = { searchParams: Promise<{ error?: string }> };

export default async function ForgotPassword({ searchParams }: Props) {
  const { error } = await searchParams;
  const alert = error && "This link is too old. Ask for a new one.";
  return <CredentialsForm mode="forgot-password" alert={alert} />;
}
