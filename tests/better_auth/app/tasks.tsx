"use client";

import { useState, type FormEvent } from "react";
import { authClient } from "../lib/auth-client.ts";

type Task = { id: number; title: string; completed: boolean };

export function Tasks({ api }: { api: string }) {
  const { data: session } = authClient.useSession();
  const [tasks, setTasks] = useState<Task[]>([]);
  const [alert, setAlert] = useState("");

  async function signUp(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const { error } = await authClient.signUp.email({
      name: "A. Visitor",
      email: String(form.get("email")),
      password: String(form.get("password")),
    });
    setAlert(error?.message ?? "");
  }

  // A token lives for 15 minutes: a fresh one for each request is simple, and cheap enough.
  async function call(method: string, path: string, body?: object, headers = {}) {
    const { data } = await authClient.token();
    const answer = await fetch(`${api}/${session!.user.id}/tasks${path}`, {
      method,
      headers: {
        Authorization: `Bearer ${data!.token}`,
        ...(body && { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body && JSON.stringify(body),
    });
    if (!answer.ok) setAlert((await answer.json()).detail);
    return answer;
  }

  async function list() {
    const answer = await call("GET", "");
    if (answer.ok) setTasks(await answer.json());
  }

  async function add(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const title = new FormData(form).get("title");
    await call("POST", "", { title }, { "Idempotency-Key": crypto.randomUUID() });
    form.reset();
    await list();
  }

  async function complete(task: Task) {
    const seen = await call("GET", `/${task.id}`);
    const etag = seen.headers.get("ETag");
    // Only if nobody has changed it meanwhile.
    const headers = etag ? { "If-Match": etag } : {};
    await call("PATCH", `/${task.id}/complete`, { completed: !task.completed }, headers);
    await list();
  }

  async function remove(task: Task) {
    await call("DELETE", `/${task.id}`);
    await list();
  }

  return (
    <main>
      <p role="alert">{alert}</p>
      {session ? (
        <form onSubmit={add}>
          <input name="title" aria-label="Title" required />
          <button>Add</button>
        </form>
      ) : (
        <form onSubmit={signUp}>
          <input name="email" type="email" aria-label="E-mail" required />
          <input name="password" type="password" aria-label="Password" required />
          <button>Sign up</button>
        </form>
      )}
      <ul>
        {tasks.map((task) => (
          <li key={task.id}>
            <label>
              <input
                type="checkbox"
                checked={task.completed}
                onChange={() => complete(task)}
              />
              {task.title}
            </label>
            <button onClick={() => remove(task)}>Delete</button>
          </li>
        ))}
      </ul>
    </main>
  );
}
