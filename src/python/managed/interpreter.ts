import { ZiparError } from "../../errors.ts";
import { askProgram } from "../ask-program.ts";
import { isolatedVariables, type Variables } from "../isolation.ts";
import { findCommand, type Machine } from "../location.ts";

/** Minor versions of Python 3 that the locked packages have wheels for. */
export const PYTHON_MINORS = { oldest: 11, newest: 14 } as const;
export const PYTHON_RANGE = `3.${PYTHON_MINORS.oldest} to 3.${PYTHON_MINORS.newest} (64-bit CPython)`;

export interface Interpreter {
  readonly path: string;
  /** e.g. `3.12.4` */
  readonly version: string;
}

interface Candidate {
  readonly command: string;
  readonly parameters: readonly string[];
}

/** What the interpreter prints of itself, or why it cannot serve. */
interface Finding {
  readonly label: string;
  readonly interpreter?: Interpreter;
  readonly objection?: string;
}

const selfDescription =
  "import json, platform, sys; print(json.dumps({'path': sys.executable, 'version': list(sys.version_info[:3]), " +
  "'implementation': platform.python_implementation().lower(), 'wide': sys.maxsize > 2**32}))";

/** The first Python on PATH that can run the worker, or the error that says what was found instead. */
export async function findInterpreter(machine: Machine): Promise<Interpreter | ZiparError> {
  const findings: Finding[] = [];
  for (const candidate of candidates(machine)) {
    const finding = await tryCandidate(candidate, machine);
    if (finding?.interpreter) return finding.interpreter;
    if (finding) findings.push(finding);
  }
  return new ZiparError({
    code: "python-environment",
    message: noInterpreterMessage(findings, machine.platform),
    details: { tried: findings.map(({ label, objection }) => `${label}: ${objection}`) },
  });
}

function candidates({ platform, variables }: Machine): readonly Candidate[] {
  const chosen = variables.UV_PYTHON ? [{ command: variables.UV_PYTHON, parameters: [] }] : [];
  const launcher = platform === "win32" ? [{ command: "py", parameters: ["-3"] }] : [];
  const minors = [12, 13, 14, 11].map((minor) => ({ command: `python3.${minor}`, parameters: [] }));
  return [
    ...chosen,
    ...launcher,
    { command: "python3", parameters: [] },
    ...minors,
    { command: "python", parameters: [] },
  ];
}

async function tryCandidate(
  { command, parameters }: Candidate,
  machine: Machine,
): Promise<Finding | undefined> {
  const path = findCommand(command, machine);
  if (!path) return undefined;
  const label = [command, ...parameters].join(" ");
  return {
    label,
    ...(await describeInterpreter(path, parameters, isolatedVariables("managed", machine.variables))),
  };
}

/** What an interpreter says of itself. It may be of any version, or none at all: Python 2 does not know `-I`. */
export async function describeInterpreter(
  path: string,
  parameters: readonly string[],
  variables: Variables,
): Promise<{ interpreter: Interpreter } | { objection: string }> {
  const answer = await askProgram(path, [...parameters, "-E", "-s", "-c", selfDescription], variables);
  // A pyenv or Windows Store stand-in without a Python behind it.
  if (answer.failed) return { objection: `does not run (${answer.complaint})` };
  return checkInterpreter(answer.stdout);
}

/** Pure: reads what `selfDescription` printed. */
export function checkInterpreter(output: string): { interpreter: Interpreter } | { objection: string } {
  let found: { path: string; version: [number, number, number]; implementation: string; wide: boolean };
  try {
    found = JSON.parse(output);
  } catch {
    return { objection: "does not run" };
  }
  const version = found.version.join(".");
  const [major, minor] = found.version;
  if (major !== 3 || minor < PYTHON_MINORS.oldest) return { objection: `is ${version}, too old` };
  if (minor > PYTHON_MINORS.newest) return { objection: `is ${version}, newer than PyTorch supports` };
  if (found.implementation !== "cpython") return { objection: `is ${found.implementation}, not CPython` };
  if (!found.wide) return { objection: "is a 32-bit build" };
  return { interpreter: { path: found.path, version } };
}

function noInterpreterMessage(findings: readonly Finding[], platform: NodeJS.Platform): string {
  const found =
    findings.length === 0
      ? "No Python was found on PATH."
      : `Found on PATH: ${findings.map(({ label, objection }) => `${label} (${objection})`).join(", ")}.`;
  const remedy =
    platform === "darwin"
      ? "brew install python@3.12"
      : platform === "win32"
        ? "winget install Python.Python.3.12"
        : "on Debian and Ubuntu: apt install python3 python3-venv";
  return (
    `zipar needs Python ${PYTHON_RANGE} to run PyTorch. ${found} Install one (${remedy}), ` +
    "or set ZIPAR_PYTHON to an interpreter in which the worker's packages are installed."
  );
}
