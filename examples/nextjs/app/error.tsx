"use client";

export default function ErrorPage({ reset }: { error: Error; reset: () => void }) {
  return (
    <main className="column narrow">
      <h1>Something went wrong</h1>
      <p>The page could not be shown. Your tasks are safe.</p>
      <button className="primary" onClick={reset}>
        Try again
      </button>
    </main>
  );
}
