// Several tabs share one session: when it changes in one of them, the others must not go on as before.

let channel: BroadcastChannel | undefined;

/** Return the one channel of this page; a page does not receive its own messages. */
const session = () => (channel ??= new BroadcastChannel("session"));

/** After signing in or out, start from a new page, which keeps nothing of the user before. */
export function moveOn(path: string) {
  session().postMessage("changed");
  window.location.assign(path);
}

/** Reload this page when somebody signs in or out in another tab. */
export function followOtherTabs() {
  session().onmessage = () => window.location.assign("/");
}
