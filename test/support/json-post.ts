export function jsonPost(body: unknown, init: RequestInit = {}): RequestInit {
  const headers = { "content-type": "application/json", ...(init.headers as Record<string, string>) };
  return { method: "POST", body: JSON.stringify(body), ...init, headers };
}
