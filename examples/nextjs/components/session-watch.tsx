"use client";

import { followOtherTabs } from "@/lib/session-change";
import { useEffect } from "react";

export function SessionWatch() {
  useEffect(followOtherTabs, []);
  return null;
}
