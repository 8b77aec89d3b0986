/**
 * What ends a line for `splitlines` of Python and for `aiter_lines` of httpx, with which many clients read streams. The control characters
 * that also end a line there are left out: JSON escapes them.
 */
export const ANY_LINE_END = /[\n\r\u0085\u2028\u2029]/;
