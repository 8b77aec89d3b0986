/**
 * The milliseconds of processor time that this process has used. A test that bounds the work of a function compares two
 * of these: unlike the time of a clock, they do not grow with the other work of the machine.
 */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}
