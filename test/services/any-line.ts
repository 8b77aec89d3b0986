/**
 * What ends a line for `splitlines` of Python and for httpx, whose `aiter_lines` the seed's snippet reads streams with, apart from the control
 * characters that JSON escapes.
 */
export const ANY_LINE_END = /[\n\r\u0085\u2028\u2029]/;
