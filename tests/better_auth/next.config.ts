import type { NextConfig } from "next";

const backend = process.env.BACKEND_URL;

const config: NextConfig = {
  rewrites: async () => [
    // Under a name that neither side has …
    { source: "/backend/:path*", destination: `${backend}/api/:path*` },
    // … or under the backend's own: never all of /api/*, where Better Auth answers too.
    { source: "/api/:user/tasks/:path*", destination: `${backend}/api/:user/tasks/:path*` },
    { source: "/api/auth/:path(signup|login|me)", destination: `${backend}/api/auth/:path` },

    // The trap, for the test: this takes the route of app/all/auth away from the front end.
    { source: "/all/:path*", destination: `${backend}/api/:path*` },
  ],
};

export default config;
