// @ts-check
/** Types only: `import type {} from "earl-editor/jsx"`. */
export {};
