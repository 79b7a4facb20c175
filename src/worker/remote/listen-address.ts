import { isIPv4, isIPv6 } from "node:net";
import { ZiparError } from "../../errors.ts";

/** Where an engine waits for workers. */
export interface ListenAddress {
  /** As libzmq binds it. */
  readonly endpoint: string;
  /** Only this machine reaches it. */
  readonly isLoopback: boolean;
  readonly isIpv6: boolean;
}

/**
 * Reads `tcp://ADDRESS:PORT`. The address is numeric, "localhost", or the name of a network interface; port 0 is any free one.
 * @param what names the option in messages
 * @throws ZiparError `invalid-options`
 */
export function parseListenAddress(text: string, what = "listen"): ListenAddress {
  const [, host = "", port = ""] = /^tcp:\/\/(\[[^\]]+\]|[^:/\s]+):(\d{1,5})$/.exec(text) ?? [];
  if (host === "*") {
    throw invalid(
      what,
      text,
      'no "*": write 0.0.0.0 if every network of this machine is meant, or one of its addresses',
    );
  }
  if (host === "" || Number(port) > 65_535) {
    throw invalid(
      what,
      text,
      'expected "tcp://ADDRESS:PORT", such as "tcp://10.0.0.5:5555" or "tcp://[::1]:5555"',
    );
  }
  const address = host === "localhost" ? "127.0.0.1" : host.replace(/^\[|\]$/g, "");
  if (host.startsWith("[") && !isIPv6(address)) throw invalid(what, text, `"${address}" is no IPv6 address`);
  return {
    endpoint: `tcp://${host === "localhost" ? address : host}:${port}`,
    isLoopback: (isIPv4(address) && address.startsWith("127.")) || address === "::1",
    isIpv6: host.startsWith("["),
  };
}

function invalid(what: string, text: string, expected: string): ZiparError {
  return new ZiparError({ code: "invalid-options", message: `${what} "${text}": ${expected}` });
}
