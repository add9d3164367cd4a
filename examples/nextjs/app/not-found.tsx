import { Brand } from "@/components/header";
import type { Metadata } from "next";
import Link from "next/link";

export const metadata: Metadata = { title: "Not found" };

export default function NotFound() {
  return (
    <main className="column narrow">
      <Brand />
      <div className="card padded">
        <h1>There is no such page</h1>
        <p>The address may be mistyped, or the page has moved.</p>
        <Link href="/">Go to your tasks</Link>
      </div>
    </main>
  );
}
