// Better Auth's own tables: https://better-auth.com/docs/concepts/database
import { Pool } from "pg";

export const database = new Pool({ connectionString: process.env.DATABASE_URL });
