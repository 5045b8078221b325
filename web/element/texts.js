// @ts-check
/** Every word the element says, in one table that a page may replace: `Object.assign(EarlEditor.texts, …)`. */
export const TEXTS = {
  picture: "Picture",
  instruction: "What to change",
  placeholder: "remove the cat",
  open: "Open…",
  run: "Edit",
  stop: "Stop",
  goOn: "Continue",
  undo: "Undo",
  redo: "Redo",
  dice: "Another seed",
  region: "Region",
  save: "Download PNG",
  withRecipe: "Recipe inside",
  clear: "Clear history",
  compare: "How much of the picture before the edit is shown",
  regionBox: "Region that may change. Arrow keys move it, Alt and arrow keys change its size; with Shift by ten.",
  plan: "Plan",
  planBox: "{label}, {cells} cells wide, row {row}, column {column}. Arrow keys move it, with Shift they change its size, Enter edits again.",
  planBoxAt: "{label}: {cells} cells wide, row {row}, column {column}.",
  left: "Left",
  top: "Top",
  width: "Width",
  height: "Height",
  progress: "Progress",
  candidates: "Candidates",
  history: "History",
  toolbar: "Tools",
  idle: "Open a picture and say what to change.",
  downloading: "Loading the model: {percent} %",
  ready: "Ready.",
  running: "Editing…",
  stopped: "Stopped. What was decided is shown.",
  done: "{changed} of {pixels} pixels outside the edit changed.",
  whole: "The whole picture belongs to the edit.",
  original: "The picture as it was",
  restored: "This picture holds a recipe: {instruction}. Run it on the picture it was made from.",
  required: "Edit the picture first.",
  candidate: "Candidate {number}",
  judged: "Candidate {number}: right with {percent}",
  unkept: "The history can't be stored or deleted here; what is shown lasts as long as this page.",
};

/** @param {string} text @param {Record<string, string | number>} values */
export const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));

/** A message as a sentence. @param {string} text */
export const sentence = (text) => (text ? text.slice(0, 1).toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".") : "");
