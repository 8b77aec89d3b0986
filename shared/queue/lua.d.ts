/** A Lua script imported as text: `import source from "./claim.lua" with { type: "text" }`. */
declare module "*.lua" {
  const source: string;
  export default source;
}
