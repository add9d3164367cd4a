// Uses the front end in Chromium as people do. Prints what happened as JSON; fails where it differs.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium, type BrowserContext, type Page } from "playwright-core";

const [executablePath, profile, address, scenario, screenshots] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
];
const PASSWORD = "correct horse battery staple";
const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

const errors: string[] = [];
const violations: string[] = [];
const requests: string[] = [];

/** Record what the page should not do, and what it asks the servers. */
function watch(page: Page) {
  page.setDefaultTimeout(15_000);
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    // Chromium reports each refused request; the refusals here are intended.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource"))
      errors.push(message.text());
  });
  page.on("request", (request) => requests.push(`${request.method()} ${request.url()}`));
  return page;
}

const requestsFor = (text: string) => requests.filter((line) => line.includes(text)).length;

/** Check the page with axe-core in light and in dark. */
async function check(page: Page, state: string) {
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    if (!(await page.evaluate(() => "axe" in window))) await page.addScriptTag({ path: AXE });
    const found = await page.evaluate(() =>
      (window as unknown as { axe: { run(): Promise<{ violations: { id: string }[] }> } }).axe.run(),
    );
    violations.push(...found.violations.map(({ id }) => `${state}, ${colorScheme}: ${id}`));
    await page.screenshot({ path: `${screenshots}/${state}-${colorScheme}.png` });
  }
  await page.emulateMedia({ colorScheme: "light" });
}

const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });
const checkbox = (page: Page, name: string) => page.getByRole("checkbox", { name, exact: true });
const gone = (page: Page, name: string) => checkbox(page, name).waitFor({ state: "detached" });

/** Tells requests for the list, and for a new task. */
const isList = (url: URL) => url.pathname.endsWith("/api/me/tasks");

/** Wait until this reads as expected. */
async function until(read: () => Promise<string[]>, expected: string[]) {
  let lines = await read();
  for (const end = Date.now() + 10_000; Date.now() < end; ) {
    if (lines.join("\n") === expected.join("\n")) return;
    await new Promise((resume) => setTimeout(resume, 50));
    lines = await read();
  }
  assert.deepEqual(lines, expected);
}

/** Wait until the list shows these tasks, one line each. */
const shows = (page: Page, expected: string[]) =>
  until(
    () =>
      page.getByRole("listitem").evaluateAll((items) =>
        items.map((item) => {
          const text = [...item.querySelectorAll("label, p")].map((each) => each.textContent);
          return `${item.querySelector("input")!.checked ? "[x]" : "[ ]"} ${text.join(" / ")}`;
        }),
      ),
    expected,
  );

/** Wait until React has taken over the form: before that, a click submits it without a script. */
const ready = (page: Page) =>
  page.waitForFunction(() =>
    Object.keys(document.querySelector("form") ?? {}).some((key) => key.startsWith("__react")),
  );

async function open(page: Page, path: string) {
  await page.goto(`${address}${path}`);
  await ready(page);
}

async function signUp(page: Page, email: string) {
  await open(page, "/sign-up");
  await page.getByLabel("Name").fill("Ada Lovelace");
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password").fill(PASSWORD);
  await button(page, "Sign up").click();
  await page.getByText("Nothing to do").waitFor();
  await ready(page);
}

async function reload(page: Page) {
  await page.reload();
  await page.getByRole("checkbox").first().waitFor();
  await ready(page);
}

async function add(page: Page, title: string) {
  await page.getByLabel("New task").fill(title);
  await button(page, "Add").click();
  await checkbox(page, title).waitFor();
}

type Details = { title?: string; description?: string; priority?: string; due?: string; tags?: string };

async function edit(page: Page, name: string, { title, description, priority, due, tags }: Details) {
  await button(page, `Edit ${name}`).click();
  const form = page.getByRole("form", { name: "Edit task" });
  if (title) await form.getByLabel("Title").fill(title);
  if (description) await form.getByLabel("Description").fill(description);
  if (priority) await form.getByLabel("Priority").selectOption(priority);
  if (due) await form.getByLabel("Due").fill(due);
  if (tags) await form.getByLabel("Tags").fill(tags);
  await button(page, "Save").click();
  await button(page, `Edit ${title ?? name}`).waitFor();
}

/** Return the day that is so many days from now, such as 2026-12-31. */
const dayFromNow = (days: number) =>
  new Date(Date.now() + days * 86_400_000).toLocaleDateString("sv");

/** Change a task in another tab, as another device of the same user would. */
async function elsewhere(page: Page, action: (other: Page) => Promise<void>) {
  const other = watch(await page.context().newPage());
  await open(other, "/");
  await action(other);
  await other.close();
}

async function person(context: BrowserContext, page: Page) {
  // Sign up, after a password that is too short.
  await page.goto(address);
  await page.getByRole("heading", { name: "Welcome back" }).waitFor();
  await check(page, "sign-in");
  await page.getByRole("link", { name: "Create an account" }).click();
  await page.waitForURL("**/sign-up");
  await ready(page);
  await page.getByLabel("Name").fill("Ada Lovelace");
  await page.getByLabel("E-mail").fill("ada@example.com");
  await page.getByLabel("Password").fill("short");
  await button(page, "Sign up").click();
  await page.getByText("Use at least 8 characters").waitFor();
  await check(page, "sign-up");
  const email = `ada-${Date.now()}@example.com`;
  await signUp(page, email);
  await check(page, "empty");

  // Add, edit in place, complete.
  for (const title of ["Book the train to Lisbon", "Water the plants", "Read chapter four"])
    await add(page, title);
  await add(page, "Call the dentist");
  await add(page, "Buy milk");
  await edit(page, "Buy milk", {
    title: "Buy oat milk",
    description: "Two litres, the cold kind",
    due: dayFromNow(0),
    tags: "errands",
  });
  await edit(page, "Call the dentist", { priority: "High", due: dayFromNow(-2) });
  await edit(page, "Book the train to Lisbon", {
    priority: "Urgent",
    due: dayFromNow(9),
    tags: "travel, errands",
  });
  await checkbox(page, "Water the plants").click();
  await page.locator("li.completed").waitFor();
  const all = [
    "[ ] Buy oat milk / Two litres, the cold kind",
    "[ ] Call the dentist",
    "[ ] Read chapter four",
    "[x] Water the plants",
    "[ ] Book the train to Lisbon",
  ];
  await shows(page, all);
  await check(page, "list");
  // The README's, sharp on screens with two pixels per pixel.
  await page.setViewportSize({ width: 1920, height: 1500 });
  await page.evaluate(() => document.documentElement.style.setProperty("zoom", "2"));
  await page.screenshot({ path: `${screenshots}/screenshot.png` });
  await page.evaluate(() => document.documentElement.style.removeProperty("zoom"));
  await page.setViewportSize({ width: 375, height: 720 });
  await check(page, "phone");
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 375);
  await page.setViewportSize({ width: 1100, height: 760 });
  // All of that with the token of the first request.
  assert.equal(requestsFor("/api/auth/token"), 1);

  // The list arrives with the page, without a request of the browser's.
  const before = requestsFor("/api/me/tasks");
  await reload(page);
  await shows(page, all);
  assert.equal(requestsFor("/api/me/tasks"), before);

  // Filter, search, order.
  await page.getByText("Completed", { exact: true }).click();
  await gone(page, "Call the dentist");
  await shows(page, ["[x] Water the plants"]);
  assert.equal(new URL(page.url()).search, "?status=completed");
  await reload(page);
  await shows(page, ["[x] Water the plants"]);
  await page.getByText("All", { exact: true }).click();
  await shows(page, all);
  await page.getByRole("searchbox").fill("MILK");
  await gone(page, "Call the dentist");
  await shows(page, [all[0]!]);
  await page.getByRole("searchbox").fill("zebra");
  await page.getByText("Nothing matches “zebra”").waitFor();
  await page.getByRole("searchbox").fill("");
  await checkbox(page, "Call the dentist").waitFor();
  await page.getByLabel("Order").selectOption("Title");
  await page.locator("li:first-child", { hasText: "Book the train" }).waitFor();
  await page.getByLabel("Order").selectOption("Newest first");
  await page.locator("li:first-child", { hasText: "Buy oat milk" }).waitFor();

  // Errors stand beside the field.
  await page.getByLabel("New task").fill("  ");
  await button(page, "Add").click();
  const invalid = page.locator("[aria-invalid=true]");
  await invalid.waitFor();
  assert.equal(await invalid.evaluate((input) => input === document.activeElement), true);
  await button(page, "Edit Call the dentist").click();
  await page.getByLabel("Title", { exact: true }).fill("x".repeat(201));
  await button(page, "Save").click();
  await page.locator(".editing .field-error").waitFor();
  await check(page, "error");
  await button(page, "Cancel").click();
  await page.getByLabel("New task").fill("");

  // A conflict offers the newer version …
  const changeTo = (title: string) => async (other: Page) => {
    await button(other, "Edit Read chapter four").click();
    await other.getByLabel("Title", { exact: true }).fill(title);
    await button(other, "Save").click();
    await checkbox(other, title).waitFor();
  };
  await button(page, "Edit Read chapter four").click();
  await page.getByLabel("Title", { exact: true }).fill("Read chapter five");
  await elsewhere(page, changeTo("Read chapters four to six"));
  await button(page, "Save").click();
  await page.getByText("changed elsewhere while").waitFor();
  await check(page, "conflict");
  await button(page, "Use the newer version").click();
  await checkbox(page, "Read chapters four to six").waitFor();
  // … or one's own after all.
  await button(page, "Edit Read chapters four to six").click();
  await page.getByLabel("Title", { exact: true }).fill("Read the book");
  await elsewhere(page, async (other) => {
    await button(other, "Edit Read chapters four to six").click();
    await other.getByLabel("Description").fill("Before Friday");
    await button(other, "Save").click();
    await other.locator("li p", { hasText: "Before Friday" }).waitFor();
  });
  await button(page, "Save").click();
  await button(page, "Save mine instead").click();
  await checkbox(page, "Read the book").waitFor();
  // What was deleted elsewhere leaves the list.
  await elsewhere(page, async (other) => {
    await button(other, "Delete Read the book").click();
    await gone(other, "Read the book");
  });
  await checkbox(page, "Read the book").click();
  await gone(page, "Read the book");

  // A create whose response is lost: repeated, and there is still one task.
  await page.route(isList, async (route) => {
    await route.fetch();
    await route.abort();
  }, { times: 1 });
  await page.getByLabel("New task").fill("Only once");
  await button(page, "Add").click();
  await page.getByText("cannot be reached").waitFor();
  await check(page, "unreachable");
  await button(page, "Add").click();
  await checkbox(page, "Only once").waitFor();
  await reload(page);
  assert.equal(await checkbox(page, "Only once").count(), 1);

  // A 401 fetches a new token, once.
  await add(page, "With the first token");
  const tokens = requestsFor("/api/auth/token");
  const refused = {
    status: 401,
    headers: { "Access-Control-Allow-Origin": address, "Content-Type": "application/problem+json" },
    body: JSON.stringify({ title: "Unauthorized", status: 401, detail: "The token has expired." }),
  };
  await page.route(isList, (route) => route.fulfill(refused), { times: 1 });
  await add(page, "With a new token");
  assert.equal(requestsFor("/api/auth/token"), tokens + 1);
  await page.route(isList, (route) => route.fulfill(refused), { times: 2 });
  await page.getByLabel("New task").fill("Refused");
  await button(page, "Add").click();
  await page.getByText("The token has expired.").waitFor();

  // Clear completed, complete all, delete.
  await button(page, "Clear completed").click();
  await gone(page, "Water the plants");
  await button(page, "Complete all").click();
  await page.locator("ul:not(:has(li:not(.completed)))").waitFor();
  await button(page, "Delete Call the dentist").click();
  await gone(page, "Call the dentist");

  // Sign out, sign in, delete the account.
  await button(page, "Sign out").click();
  await page.waitForURL("**/sign-in");
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password").fill("not the password");
  await button(page, "Sign in").click();
  await page.getByText("is wrong").waitFor();
  await page.getByLabel("Password").fill(PASSWORD);
  await button(page, "Sign in").click();
  await checkbox(page, "Buy oat milk").waitFor();
  await page.getByRole("link", { name: "Ada Lovelace" }).click();
  const download = page.waitForEvent("download");
  await button(page, "Download my data").click();
  assert.equal((await download).suggestedFilename(), "tasks.json");
  await page.getByLabel("Your password").fill("not the password");
  await button(page, "Delete my account").click();
  await page.getByText("This is not your password").waitFor();
  await check(page, "account");
  await page.getByLabel("Your password").fill(PASSWORD);
  await button(page, "Delete my account").click();
  await page.waitForURL("**/sign-up");
  assert.deepEqual(
    (await context.cookies()).filter(({ name, value }) => name.includes("session") && value),
    [],
  );
}

/** What once stopped or misled people; each step names the mistake that it would notice. */
async function snags(context: BrowserContext, page: Page) {
  const email = `grace-${Date.now()}@example.com`;
  /** Return the link of the newest e-mail to this user. */
  const mailed = (to = email): string =>
    readFileSync(process.env.MAILBOX!, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { to: string; link: string })
      .findLast((each) => each.to === to)!.link;
  const problems = () => page.locator(".field-error").allTextContents();

  // Each field says what it lacks, and nothing reads like code.
  await open(page, "/sign-up");
  await button(page, "Sign up").click();
  await page.locator("[aria-invalid=true]").nth(2).waitFor();
  assert.deepEqual(await problems(), [
    "Write your name.",
    "Write a valid e-mail address.",
    "Write your password.",
  ]);
  await check(page, "sign-up-empty");
  await page.getByLabel("Name").fill("   ");
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password").fill(PASSWORD);
  await button(page, "Sign up").click();
  await page.locator("[aria-invalid=true]").nth(1).waitFor({ state: "detached" });
  assert.deepEqual(await problems(), ["Write your name."]);
  // The browser takes this for an address, and Better Auth does not.
  await page.getByLabel("Name").fill("Grace");
  await page.getByLabel("E-mail").fill("grace@example");
  await button(page, "Sign up").click();
  await page.getByText("Write a valid e-mail address.").waitFor();
  assert.deepEqual(await problems(), ["Write a valid e-mail address."]);

  // An account with this address exists at the service: verify the address, and it is one's own.
  await fetch(`${process.env.BACKEND_URL}/api/auth/signup`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ email, password: PASSWORD }),
  });
  await page.setViewportSize({ width: 375, height: 720 });
  await page.getByLabel("Name").fill("Rear Admiral Grace Brewster Murray Hopper of New York");
  await page.getByLabel("E-mail").fill(email);
  await button(page, "Sign up").click();
  await page.getByText("verify your e-mail address first").waitFor();
  // A long name leaves the brand on one line.
  const { height } = (await page.getByRole("link", { name: "To-do" }).boundingBox())!;
  assert.ok(height < 40, `The brand is ${height} pixels high`);
  await check(page, "unverified");
  await page.setViewportSize({ width: 1100, height: 760 });
  const first = mailed();
  await button(page, "Send a verification e-mail").click();
  await page.getByText(`We have sent a link to ${email}`).waitFor();
  assert.notEqual(mailed(), first);
  await page.goto(mailed());
  await page.getByText("Nothing to do").waitFor();
  await ready(page);

  // Add, pressed three times while the service is slow, adds once.
  await page.route(isList, async (route) => {
    await page.waitForTimeout(500);
    await route.continue();
  });
  await page.getByLabel("New task").fill("Apples");
  const creates = requestsFor("POST");
  for (let n = 0; n < 3; n++) await button(page, "Add").click({ force: true });
  await checkbox(page, "Apples").waitFor();
  await page.waitForTimeout(700);
  await shows(page, ["[ ] Apples"]);
  assert.equal(requestsFor("POST"), creates + 1);
  await page.unroute(isList);

  // Sorted by title, a new task stands where it belongs.
  await page.getByLabel("Order").selectOption("Title");
  await add(page, "Zebra food");
  await shows(page, ["[ ] Apples", "[ ] Zebra food"]);

  // A deletion can be undone.
  await button(page, "Delete Apples").click();
  await gone(page, "Apples");
  await check(page, "undo");
  await button(page, "Undo").click();
  await shows(page, ["[ ] Apples", "[ ] Zebra food"]);
  assert.equal(await checkbox(page, "Apples").evaluate((it) => it === document.activeElement), true);
  await reload(page);
  await shows(page, ["[ ] Apples", "[ ] Zebra food"]);

  // What was done in another tab is here when one comes back; where nothing was done, nothing is sent.
  const other = watch(await context.newPage());
  await open(other, "/");
  await add(other, "Milk");
  const comeBack = async () => {
    const response = page.waitForResponse((each) => isList(new URL(each.url())));
    await page.evaluate(() => window.dispatchEvent(new Event("focus")));
    return (await response).status();
  };
  assert.equal(await comeBack(), 200);
  await shows(page, ["[ ] Apples", "[ ] Milk", "[ ] Zebra food"]);
  assert.equal(await comeBack(), 304);
  await page.context().setOffline(true);
  await page.evaluate(() => window.dispatchEvent(new Event("focus")));
  await page.waitForTimeout(200);
  await shows(page, ["[ ] Apples", "[ ] Milk", "[ ] Zebra food"]);
  await page.context().setOffline(false);

  // What goes wrong at the end of a long list is said where it is seen.
  await page.evaluate(async (backend) => {
    const { token } = await (await fetch("/api/auth/token")).json();
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    for (let n = 10; n < 70; n++) {
      const body = JSON.stringify({ title: `Number ${n}` });
      await fetch(`${backend}/api/me/tasks`, { method: "POST", headers, body });
    }
  }, process.env.BACKEND_URL);
  await reload(page);
  await button(page, "Show more").click();
  await checkbox(page, "Zebra food").waitFor();
  await page.route(/\/api\/me\/tasks\//, (route) => route.abort());
  await button(page, "Delete Zebra food").click();
  const alert = page.getByText("cannot be reached");
  await alert.waitFor();
  const box = (await alert.boundingBox())!;
  assert.ok(box.y > 0 && box.y + box.height < 760, `The alert is at ${box.y}`);
  await check(page, "alert");
  await page.unroute(/\/api\/me\/tasks\//);

  // After signing out in one tab, no other goes on as before.
  await button(other, "Sign out").click();
  await page.waitForURL("**/sign-in");

  // A forgotten password.
  await page.getByRole("link", { name: "Forgot your password?" }).click();
  await page.waitForURL("**/forgot-password");
  await ready(page);
  await page.getByLabel("E-mail").fill(email);
  await button(page, "Send a link").click();
  await page.getByText("is on its way").waitFor();
  await check(page, "forgotten");
  const link = mailed();
  await page.goto(link);
  await ready(page);
  await page.getByLabel("Password").fill("another long password");
  await check(page, "new-password");
  await button(page, "Save").click();
  await page.getByText("is saved").waitFor();
  await page.goto(link);
  await page.getByText("This link is too old").waitFor();
  await open(page, "/sign-in");
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password").fill("another long password");
  await button(page, "Sign in").click();
  await checkbox(page, "Number 69").waitFor();
  // The other tab stood on the page for signing in, and has come along.
  await checkbox(other, "Number 69").waitFor();

  // A page that does not exist leads back.
  await page.goto(`${address}/nowhere`);
  await page.getByText("no such page").waitFor();
  await check(page, "not-found");
  await page.getByRole("link", { name: "Go to your tasks" }).click();
  await checkbox(page, "Number 69").waitFor();
}

/** Priority, due date and tags. */
async function details(context: BrowserContext, page: Page) {
  await signUp(page, `details-${Date.now()}@example.com`);
  for (const title of ["Ring Mum", "Pay rent", "Sow beans"]) await add(page, title);
  await edit(page, "Pay rent", { priority: "Urgent", due: dayFromNow(-1), tags: "Home, money" });
  await edit(page, "Sow beans", { priority: "Low", due: "2031-12-31", tags: "garden,home" });

  const titles = () => page.locator(".tasks label").allTextContents();
  const order = async (sort: string, expected: string[]) => {
    await page.getByLabel("Order").selectOption(sort);
    await until(titles, expected);
  };
  await order("Priority", ["Pay rent", "Ring Mum", "Sow beans"]);
  await order("Due date", ["Pay rent", "Sow beans", "Ring Mum"]);

  // A date that is past is marked, in words too, until the task is completed.
  const rent = page.locator("li", { hasText: "Pay rent" });
  await rent.getByText("Overdue").waitFor();
  await checkbox(page, "Pay rent").click();
  await rent.getByText("Overdue").waitFor({ state: "detached" });
  await checkbox(page, "Pay rent").click();
  await check(page, "details");
  await page.setViewportSize({ width: 375, height: 720 });
  await check(page, "details-phone");
  await button(page, "Edit Sow beans").click();
  await page.getByRole("form", { name: "Edit task" }).waitFor();
  await check(page, "details-edit-phone");
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 375);
  await page.setViewportSize({ width: 1100, height: 760 });
  await check(page, "details-edit");
  await button(page, "Cancel").click();

  // The day that was picked, wherever it is read; an edit of something else leaves it alone.
  const zone = await context.newCDPSession(page);
  for (const timezoneId of ["Pacific/Honolulu", "Pacific/Kiritimati"]) {
    await zone.send("Emulation.setTimezoneOverride", { timezoneId });
    await reload(page);
    await page.getByText("31 Dec 2031").waitFor();
    await edit(page, "Sow beans", { description: `in ${timezoneId}` });
    await page.getByText(`in ${timezoneId}`).waitFor();
    await page.getByText("31 Dec 2031").waitFor();
  }

  // A tag narrows the list, and what is done to all is done to what is shown.
  await rent.getByRole("button", { name: "Only Home" }).click();
  await gone(page, "Ring Mum");
  assert.equal(new URL(page.url()).searchParams.get("tag"), "Home");
  await until(titles, ["Pay rent", "Sow beans"]);
  await check(page, "tag");
  await reload(page);
  await until(titles, ["Pay rent", "Sow beans"]);
  await add(page, "Dust");
  await page.getByRole("searchbox").fill("s");
  await gone(page, "Pay rent");
  await button(page, "Complete all").click();
  await page.locator("ul:not(:has(li:not(.completed)))").waitFor();
  await page.getByRole("searchbox").fill("");
  await checkbox(page, "Pay rent").waitFor();
  await button(page, "Home: show all tags").click();
  await checkbox(page, "Ring Mum").waitFor();
  const pending = page.locator("li:not(.completed) label");
  await until(() => pending.allTextContents(), ["Pay rent", "Ring Mum"]);

  // A deletion that is undone brings all of it back.
  await button(page, "Delete Pay rent").click();
  await button(page, "Undo").click();
  await rent.getByText("Urgent").waitFor();
  await rent.getByText("money").waitFor();
}

/** Do it all without a mouse; every step starts from where the focus is. */
async function keyboard(_context: BrowserContext, page: Page) {
  const focused = () =>
    page.evaluate(() => {
      const element = document.activeElement as HTMLInputElement;
      return element.ariaLabel ?? element.labels?.[0]?.textContent ?? element.textContent;
    });
  /** Press Tab until this has the focus. */
  async function tabTo(name: string, key = "Tab") {
    for (let presses = 0; presses < 25; presses++) {
      await page.keyboard.press(key);
      if ((await focused()) === name) return;
    }
    assert.fail(`${name} cannot be reached with ${key}; the focus is on ${await focused()}`);
  }
  const type = (text: string) => page.keyboard.type(text);
  const press = (key: string) => page.keyboard.press(key);

  await open(page, "/sign-up");
  await tabTo("Name");
  await type("Ada Lovelace");
  await press("Tab");
  await type(`keys-${Date.now()}@example.com`);
  await press("Tab");
  await type(PASSWORD);
  await press("Enter");
  await page.getByText("Nothing to do").waitFor();
  await ready(page);

  await tabTo("New task");
  for (const title of ["One", "Two", "Three"]) {
    await type(title);
    await press("Enter");
    await checkbox(page, title).waitFor();
    assert.equal(await focused(), "New task");
  }
  await tabTo("Two");
  await press("Space");
  await page.locator("li.completed").waitFor();
  await tabTo("Edit Two");
  await press("Enter");
  await page.getByLabel("Title", { exact: true }).waitFor();
  assert.equal(await focused(), "Title");
  await press("Escape");
  await button(page, "Edit Two").waitFor();
  await page.waitForFunction(() => document.activeElement?.ariaLabel === "Edit Two");
  await press("Enter");
  await page.getByLabel("Title", { exact: true }).waitFor();
  await type("2");
  await press("Enter");
  await page.waitForFunction(() => document.activeElement?.ariaLabel === "Edit Two2");

  // After a task is deleted the focus is on the one that takes its place.
  await tabTo("Delete Two2");
  await press("Enter");
  await gone(page, "Two2");
  assert.equal(await focused(), "One");
  // Arrows move between the filters; a task that the filter hides gives the focus away, too.
  await tabTo("All", "Shift+Tab");
  await press("ArrowRight");
  assert.equal(await focused(), "Open");
  await tabTo("Three");
  await press("Space");
  await gone(page, "Three");
  assert.equal(await focused(), "One");
  await tabTo("Sign out", "Shift+Tab");
  await press("Enter");
  await page.waitForURL("**/sign-in");
}

/** Add, complete and delete through the rewrite. */
async function short(_context: BrowserContext, page: Page) {
  await signUp(page, `short-${Date.now()}@example.com`);
  await add(page, "Buy milk");
  await checkbox(page, "Buy milk").click();
  await page.locator("li.completed").waitFor();
  await button(page, "Delete Buy milk").click();
  await gone(page, "Buy milk");
}

/** The application of the guide: sign up, add, find it again. */
async function guide(_context: BrowserContext, page: Page) {
  await open(page, "/");
  await page.getByPlaceholder("E-mail").fill(`guide-${Date.now()}@example.com`);
  await page.getByPlaceholder("Password").fill(PASSWORD);
  await button(page, "Sign up or sign in").click();
  await page.getByPlaceholder("New task").fill("Buy milk");
  await button(page, "Add").click();
  await page.getByRole("listitem").waitFor();
  await page.reload();
  await page.getByRole("listitem").waitFor();
  assert.deepEqual(await page.getByRole("listitem").allTextContents(), ["Buy milk"]);
}

const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  chromiumSandbox: false,
  viewport: { width: 1100, height: 760 },
  args: [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const page = watch(context.pages()[0]!);
try {
  await { person, snags, details, keyboard, short, guide }[scenario]!(context, page);
} catch (error) {
  await page.screenshot({ path: `${screenshots}/failed.png` });
  throw error;
} finally {
  await context.close();
}
console.log(JSON.stringify({ errors, violations }));
