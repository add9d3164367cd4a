import type { NextConfig } from "next";

// Only for pages that call their own origin instead of the service's. `next build` stores the address.
const backend = process.env.BACKEND_URL;

const config: NextConfig = {
  // The badge of `next dev` would cover the foot of the list on a phone.
  devIndicators: false,
  rewrites: async () => [
    // Under a prefix that neither side uses (BACKEND_PUBLIC_URL=/backend) …
    { source: "/backend/:path*", destination: `${backend}/:path*` },
    // … or under the service's own paths. Never all of /api/*: Better Auth is there too.
    { source: "/api/:user/tasks/:path*", destination: `${backend}/api/:user/tasks/:path*` },
    { source: "/api/auth/:path(signup|login|me|me/export)", destination: `${backend}/api/auth/:path` },
  ],
};

export default config;
