// Uses the front end in Chromium as people do; fails where anything differs.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium, type BrowserContext, type Locator, type Page } from "playwright-core";

const [executablePath, profile, address, scenario, screenshots] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
];
const PASSWORD = "correct horse battery staple";
const NEW_PASSWORD = "another long password";
const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const DESKTOP = { width: 1100, height: 760 };
const PHONE = { width: 375, height: 720 };

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
const click = (page: Page, name: string) => button(page, name).click();
const checkbox = (page: Page, name: string) => page.getByRole("checkbox", { name, exact: true });
const listed = (page: Page, name: string) => checkbox(page, name).waitFor();
const gone = (page: Page, name: string) => checkbox(page, name).waitFor({ state: "detached" });
const field = (page: Page, label: string) => page.getByLabel(label, { exact: true });
const says = (page: Page | Locator, text: string) => page.getByText(text).waitFor();
const search = (page: Page, text: string) => page.getByRole("searchbox").fill(text);
const order = (page: Page, name: string) => field(page, "Order").selectOption(name);
const allCompleted = (page: Page) => page.locator("ul:not(:has(li:not(.completed)))").waitFor();
const titles = (page: Page) => page.locator(".tasks label").allTextContents();
const isFocused = (locator: Locator) => locator.evaluate((it) => it === document.activeElement);

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
  await page.goto(address + path);
  await ready(page);
}

/** Fill the fields with these labels, and press a button. */
async function submit(page: Page, name: string, fields: Record<string, string>) {
  for (const [label, value] of Object.entries(fields)) {
    if (label === "Priority") await field(page, label).selectOption(value);
    else await field(page, label).fill(value);
  }
  await click(page, name);
}

/** Sign up, and return the e-mail address. */
async function signUp(page: Page, name = scenario) {
  const email = `${name}-${Date.now()}@example.com`;
  await open(page, "/sign-up");
  await submit(page, "Sign up", { Name: "Ada Lovelace", "E-mail": email, Password: PASSWORD });
  await says(page, "Nothing to do");
  await ready(page);
  return email;
}

async function reload(page: Page) {
  await page.reload();
  await page.getByRole("checkbox").first().waitFor();
  await ready(page);
}

async function add(page: Page, ...added: string[]) {
  for (const title of added) {
    await submit(page, "Add", { "New task": title });
    await listed(page, title);
  }
}

async function remove(page: Page, title: string) {
  await click(page, `Delete ${title}`);
  await gone(page, title);
}

async function edit(page: Page, title: string, fields: Record<string, string>) {
  await click(page, `Edit ${title}`);
  await submit(page, "Save", fields);
  await button(page, `Edit ${fields.Title ?? title}`).waitFor();
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
  await submit(page, "Sign up", { Name: "Ada", "E-mail": "ada@example.com", Password: "short" });
  await says(page, "Use at least 8 characters");
  await check(page, "sign-up");
  const email = await signUp(page);
  await check(page, "empty");

  // Add, edit in place, complete.
  await add(page, "Book the train to Lisbon", "Water the plants", "Read chapter four");
  await add(page, "Call the dentist", "Buy milk");
  await edit(page, "Buy milk", {
    Title: "Buy oat milk",
    Description: "Two litres, the cold kind",
    Due: dayFromNow(0),
    Tags: "errands",
  });
  await edit(page, "Call the dentist", { Priority: "High", Due: dayFromNow(-2) });
  const trip = { Priority: "Urgent", Due: dayFromNow(9), Tags: "travel, errands" };
  await edit(page, "Book the train to Lisbon", trip);
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
  await page.setViewportSize(PHONE);
  await check(page, "phone");
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), PHONE.width);
  await page.setViewportSize(DESKTOP);
  // All of that with the token of the first request.
  assert.equal(requestsFor("/api/auth/token"), 1);

  // The list arrives with the page, without a request of the browser's.
  const before = requestsFor("/api/me/tasks");
  await reload(page);
  await shows(page, all);
  assert.equal(requestsFor("/api/me/tasks"), before);

  // Filter, search, order.
  await page.getByText("Completed", { exact: true }).click();
  await shows(page, ["[x] Water the plants"]);
  assert.equal(new URL(page.url()).search, "?status=completed");
  await reload(page);
  await shows(page, ["[x] Water the plants"]);
  await page.getByText("All", { exact: true }).click();
  await shows(page, all);
  await search(page, "MILK");
  await shows(page, [all[0]!]);
  await search(page, "zebra");
  await says(page, "Nothing matches “zebra”");
  await search(page, "");
  await shows(page, all);
  await order(page, "Title");
  await page.locator("li:first-child", { hasText: "Book the train" }).waitFor();
  await order(page, "Newest first");
  await shows(page, all);

  // Errors stand beside the field.
  await submit(page, "Add", { "New task": "  " });
  const invalid = page.locator("[aria-invalid=true]");
  await invalid.waitFor();
  assert.ok(await isFocused(invalid));
  await click(page, "Edit Call the dentist");
  await submit(page, "Save", { Title: "x".repeat(201) });
  await page.locator(".editing .field-error").waitFor();
  await check(page, "error");
  await click(page, "Cancel");
  await field(page, "New task").fill("");

  // A conflict offers the newer version …
  await click(page, "Edit Read chapter four");
  await field(page, "Title").fill("Read chapter five");
  const newer = "Read chapters four to six";
  await elsewhere(page, (other) => edit(other, "Read chapter four", { Title: newer }));
  await click(page, "Save");
  await says(page, "changed elsewhere while");
  await check(page, "conflict");
  await click(page, "Use the newer version");
  await listed(page, newer);
  // … or one's own after all.
  await click(page, `Edit ${newer}`);
  await field(page, "Title").fill("Read the book");
  await elsewhere(page, (other) => edit(other, newer, { Description: "Before Friday" }));
  await click(page, "Save");
  await click(page, "Save mine instead");
  await listed(page, "Read the book");
  // What was deleted elsewhere leaves the list.
  await elsewhere(page, (other) => remove(other, "Read the book"));
  await checkbox(page, "Read the book").click();
  await gone(page, "Read the book");

  // A create whose response is lost: repeated, and there is still one task.
  await page.route(isList, async (route) => {
    await route.fetch();
    await route.abort();
  }, { times: 1 });
  await submit(page, "Add", { "New task": "Only once" });
  await says(page, "cannot be reached");
  await check(page, "unreachable");
  await click(page, "Add");
  await listed(page, "Only once");
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
  await submit(page, "Add", { "New task": "Refused" });
  await says(page, "The token has expired.");

  // Clear completed, complete all, delete.
  await click(page, "Clear completed");
  await gone(page, "Water the plants");
  await click(page, "Complete all");
  await allCompleted(page);
  await remove(page, "Call the dentist");

  // Sign out, sign in, delete the account.
  await click(page, "Sign out");
  await page.waitForURL("**/sign-in");
  await submit(page, "Sign in", { "E-mail": email, Password: "not the password" });
  await says(page, "is wrong");
  await submit(page, "Sign in", { Password: PASSWORD });
  await listed(page, "Buy oat milk");
  await page.getByRole("link", { name: "Ada Lovelace" }).click();
  const download = page.waitForEvent("download");
  await click(page, "Download my data");
  assert.equal((await download).suggestedFilename(), "tasks.json");
  await submit(page, "Delete my account", { "Your password": "not the password" });
  await says(page, "This is not your password");
  await check(page, "account");
  await submit(page, "Delete my account", { "Your password": PASSWORD });
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
  const mailed = (): string =>
    readFileSync(process.env.MAILBOX!, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { to: string; link: string })
      .findLast(({ to }) => to === email)!.link;
  const problems = (...expected: string[]) =>
    until(() => page.locator(".field-error").allTextContents(), expected);

  // Each field says what it lacks, and nothing reads like code.
  await open(page, "/sign-up");
  await click(page, "Sign up");
  await problems("Write your name.", "Write a valid e-mail address.", "Write your password.");
  await check(page, "sign-up-empty");
  await submit(page, "Sign up", { Name: "   ", "E-mail": email, Password: PASSWORD });
  await problems("Write your name.");
  // The browser takes this for an address, and Better Auth does not.
  await submit(page, "Sign up", { Name: "Grace", "E-mail": "grace@example" });
  await problems("Write a valid e-mail address.");

  // An account with this address exists at the service: verify the address, and it is one's own.
  await fetch(`${process.env.BACKEND_URL}/api/auth/signup`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ email, password: PASSWORD }),
  });
  await page.setViewportSize(PHONE);
  const longName = "Rear Admiral Grace Brewster Murray Hopper of New York";
  await submit(page, "Sign up", { Name: longName, "E-mail": email });
  await says(page, "verify your e-mail address first");
  // A long name leaves the brand on one line.
  const { height } = (await page.getByRole("link", { name: "To-do" }).boundingBox())!;
  assert.ok(height < 40, `The brand is ${height} pixels high`);
  await check(page, "unverified");
  await page.setViewportSize(DESKTOP);
  const first = mailed();
  await click(page, "Send a verification e-mail");
  await says(page, `We have sent a link to ${email}`);
  assert.notEqual(mailed(), first);
  await page.goto(mailed());
  await says(page, "Nothing to do");
  await ready(page);

  // Add, pressed three times while the service is slow, adds once.
  await page.route(isList, async (route) => {
    await page.waitForTimeout(500);
    await route.continue();
  });
  await field(page, "New task").fill("Apples");
  const creates = requestsFor("POST");
  for (let n = 0; n < 3; n++) await button(page, "Add").click({ force: true });
  await listed(page, "Apples");
  await page.waitForTimeout(700);
  await shows(page, ["[ ] Apples"]);
  assert.equal(requestsFor("POST"), creates + 1);
  await page.unroute(isList);

  // Sorted by title, a new task stands where it belongs.
  await order(page, "Title");
  await add(page, "Zebra food");
  await shows(page, ["[ ] Apples", "[ ] Zebra food"]);

  // A deletion can be undone.
  await remove(page, "Apples");
  await check(page, "undo");
  await click(page, "Undo");
  await shows(page, ["[ ] Apples", "[ ] Zebra food"]);
  assert.ok(await isFocused(checkbox(page, "Apples")));
  await reload(page);
  await shows(page, ["[ ] Apples", "[ ] Zebra food"]);

  // What was done in another tab is here when one comes back; where nothing was done, nothing is sent.
  const other = watch(await context.newPage());
  await open(other, "/");
  await add(other, "Milk");
  const focus = () => page.evaluate(() => window.dispatchEvent(new Event("focus")));
  for (const status of [200, 304]) {
    const response = page.waitForResponse((each) => isList(new URL(each.url())));
    await focus();
    assert.equal((await response).status(), status);
    await shows(page, ["[ ] Apples", "[ ] Milk", "[ ] Zebra food"]);
  }
  await context.setOffline(true);
  await focus();
  await page.waitForTimeout(200);
  await shows(page, ["[ ] Apples", "[ ] Milk", "[ ] Zebra food"]);
  await context.setOffline(false);

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
  await click(page, "Show more");
  await listed(page, "Zebra food");
  await page.route(/\/api\/me\/tasks\//, (route) => route.abort());
  await click(page, "Delete Zebra food");
  await says(page, "cannot be reached");
  const box = (await page.getByText("cannot be reached").boundingBox())!;
  assert.ok(box.y > 0 && box.y + box.height < DESKTOP.height, `The alert is at ${box.y}`);
  await check(page, "alert");
  await page.unroute(/\/api\/me\/tasks\//);

  // After signing out in one tab, no other goes on as before.
  await click(other, "Sign out");
  await page.waitForURL("**/sign-in");

  // A forgotten password.
  await page.getByRole("link", { name: "Forgot your password?" }).click();
  await page.waitForURL("**/forgot-password");
  await ready(page);
  await submit(page, "Send a link", { "E-mail": email });
  await says(page, "is on its way");
  await check(page, "forgotten");
  const link = mailed();
  await page.goto(link);
  await ready(page);
  await check(page, "new-password");
  await submit(page, "Save", { Password: NEW_PASSWORD });
  await says(page, "is saved");
  await page.goto(link);
  await says(page, "This link is too old");
  await open(page, "/sign-in");
  await submit(page, "Sign in", { "E-mail": email, Password: NEW_PASSWORD });
  await listed(page, "Number 69");
  // The other tab stood on the page for signing in, and has come along.
  await listed(other, "Number 69");

  // A page that does not exist leads back.
  await page.goto(`${address}/nowhere`);
  await says(page, "no such page");
  await check(page, "not-found");
  await page.getByRole("link", { name: "Go to your tasks" }).click();
  await listed(page, "Number 69");
}

/** Priority, due date and tags. */
async function details(context: BrowserContext, page: Page) {
  await signUp(page);
  await add(page, "Ring Mum", "Pay rent", "Sow beans");
  await edit(page, "Pay rent", { Priority: "Urgent", Due: dayFromNow(-1), Tags: "Home, money" });
  await edit(page, "Sow beans", { Priority: "Low", Due: "2031-12-31", Tags: "garden,home" });

  await order(page, "Priority");
  await until(() => titles(page), ["Pay rent", "Ring Mum", "Sow beans"]);
  await order(page, "Due date");
  await until(() => titles(page), ["Pay rent", "Sow beans", "Ring Mum"]);

  // A date that is past is marked, in words too, until the task is completed.
  const rent = page.locator("li", { hasText: "Pay rent" });
  await says(rent, "Overdue");
  await checkbox(page, "Pay rent").click();
  await rent.getByText("Overdue").waitFor({ state: "detached" });
  await checkbox(page, "Pay rent").click();
  await check(page, "details");
  await page.setViewportSize(PHONE);
  await check(page, "details-phone");
  await click(page, "Edit Sow beans");
  await page.getByRole("form", { name: "Edit task" }).waitFor();
  await check(page, "details-edit-phone");
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), PHONE.width);
  await page.setViewportSize(DESKTOP);
  await check(page, "details-edit");
  await click(page, "Cancel");

  // The day that was picked, wherever it is read; an edit of something else leaves it alone.
  const zone = await context.newCDPSession(page);
  for (const timezoneId of ["Pacific/Honolulu", "Pacific/Kiritimati"]) {
    await zone.send("Emulation.setTimezoneOverride", { timezoneId });
    await reload(page);
    await says(page, "31 Dec 2031");
    await edit(page, "Sow beans", { Description: `in ${timezoneId}` });
    await says(page, `in ${timezoneId}`);
    await says(page, "31 Dec 2031");
  }

  // A tag narrows the list, and what is done to all is done to what is shown.
  await rent.getByRole("button", { name: "Only Home" }).click();
  await until(() => titles(page), ["Pay rent", "Sow beans"]);
  assert.equal(new URL(page.url()).searchParams.get("tag"), "Home");
  await check(page, "tag");
  await reload(page);
  await until(() => titles(page), ["Pay rent", "Sow beans"]);
  await add(page, "Dust");
  await search(page, "s");
  await gone(page, "Pay rent");
  await click(page, "Complete all");
  await allCompleted(page);
  await search(page, "");
  await listed(page, "Pay rent");
  await click(page, "Home: show all tags");
  await listed(page, "Ring Mum");
  const pending = page.locator("li:not(.completed) label");
  await until(() => pending.allTextContents(), ["Pay rent", "Ring Mum"]);

  // A deletion that is undone brings all of it back.
  await click(page, "Delete Pay rent");
  await click(page, "Undo");
  await says(rent, "Urgent");
  await says(rent, "money");
}

/** Do it all without a mouse; every step starts from where the focus is. */
async function keyboard(_context: BrowserContext, page: Page) {
  const focused = () =>
    page.evaluate(() => {
      const element = document.activeElement as HTMLInputElement;
      return element.ariaLabel ?? element.labels?.[0]?.textContent ?? element.textContent;
    });
  const isOn = (name: string) => until(async () => [String(await focused())], [name]);
  const type = (text: string) => page.keyboard.type(text);
  const press = (key: string) => page.keyboard.press(key);
  /** Press Tab until this has the focus, and then another key. */
  async function pressOn(name: string, key: string, tab = "Tab") {
    for (let presses = 0; (await focused()) !== name; presses++) {
      assert.ok(presses < 25, `${name} cannot be reached with ${tab}: ${await focused()}`);
      await press(tab);
    }
    await press(key);
  }

  await open(page, "/sign-up");
  await pressOn("Name", "End");
  await type("Ada Lovelace");
  await press("Tab");
  await type(`keys-${Date.now()}@example.com`);
  await press("Tab");
  await type(PASSWORD);
  await press("Enter");
  await says(page, "Nothing to do");
  await ready(page);

  await pressOn("New task", "End");
  for (const title of ["One", "Two", "Three"]) {
    await type(title);
    await press("Enter");
    await listed(page, title);
    await isOn("New task");
  }
  await pressOn("Two", "Space");
  await page.locator("li.completed").waitFor();
  await pressOn("Edit Two", "Enter");
  await isOn("Title");
  await press("Escape");
  await isOn("Edit Two");
  await press("Enter");
  await isOn("Title");
  await type("2");
  await press("Enter");
  await isOn("Edit Two2");

  // After a task is deleted the focus is on the one that takes its place.
  await pressOn("Delete Two2", "Enter");
  await gone(page, "Two2");
  await isOn("One");
  // Arrows move between the filters; a task that the filter hides gives the focus away, too.
  await pressOn("All", "ArrowRight", "Shift+Tab");
  await isOn("Open");
  await pressOn("Three", "Space");
  await gone(page, "Three");
  await isOn("One");
  await pressOn("Sign out", "Enter", "Shift+Tab");
  await page.waitForURL("**/sign-in");
}

/** Add, complete and delete through the rewrite. */
async function short(_context: BrowserContext, page: Page) {
  await signUp(page);
  await add(page, "Buy milk");
  await checkbox(page, "Buy milk").click();
  await page.locator("li.completed").waitFor();
  await remove(page, "Buy milk");
}

/** The application of the guide: sign up, add, find it again. */
async function guide(_context: BrowserContext, page: Page) {
  await open(page, "/");
  await page.getByPlaceholder("E-mail").fill(`guide-${Date.now()}@example.com`);
  await page.getByPlaceholder("Password").fill(PASSWORD);
  await click(page, "Sign up or sign in");
  await page.getByPlaceholder("New task").fill("Buy milk");
  await click(page, "Add");
  await page.getByRole("listitem").waitFor();
  await page.reload();
  await page.getByRole("listitem").waitFor();
  assert.deepEqual(await page.getByRole("listitem").allTextContents(), ["Buy milk"]);
}

/** The service's own documentation: every operation works, with nothing filled in but the token. */
async function docs(_context: BrowserContext, page: Page) {
  await page.goto(`${address}/docs`);
  await page.locator(".opblock").first().waitFor();
  const ids = await page
    .locator(".opblock")
    .evaluateAll((all) => all.map((each) => each.id.split("-").pop()!));
  assert.ok(ids.length > 15);
  const first = ["signup", "create_token", "create_task"];
  const last = ["delete_task", "delete_tasks", "delete_me"];
  const middle = ids.filter((id) => ![...first, ...last].includes(id));
  for (const id of [...first, ...middle, ...last]) {
    const operation = page.locator(`.opblock[id$="-${id}"]`);
    await operation.locator(".opblock-summary-control").click();
    await operation.getByRole("button", { name: "Try it out" }).click();
    await operation.getByRole("button", { name: "Execute" }).click();
    const response = operation.locator(".live-responses-table");
    const status = response.locator("tr.response .response-col_status").first();
    assert.match(await status.innerText(), /^\s*[12]/, id);
    if (id === "delete_tasks")
      assert.equal(await operation.locator("select").first().inputValue(), "completed");
    if (id === "create_token") {
      const body = await response.locator(".highlight-code").first().innerText();
      const token = /"token": "([^"]+)"/.exec(body)![1]!;
      await page.locator(".btn.authorize").first().click();
      const dialog = page.locator(".modal-ux");
      await dialog.locator("input").fill(token);
      await dialog.getByRole("button", { name: "Apply credentials" }).click();
      await dialog.getByRole("button", { name: "Close", exact: true }).last().click();
    }
    await operation.locator(".opblock-summary-control").click();
  }
}

const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  chromiumSandbox: false,
  viewport: DESKTOP,
  args: ["--disable-gpu", "--disable-quic"],
});
const page = watch(context.pages()[0]!);
try {
  await { person, snags, details, keyboard, short, guide, docs }[scenario]!(context, page);
  assert.deepEqual({ errors, violations }, { errors: [], violations: [] });
} catch (error) {
  await page.screenshot({ path: `${screenshots}/failed.png` });
  throw error;
} finally {
  await context.close();
}
