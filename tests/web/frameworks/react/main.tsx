import { createRoot } from "react-dom/client";
import { Picture } from "./Picture.tsx";

createRoot(document.getElementById("root")!).render(<Picture url="/cat.png" onImage={(image) => Object.assign(globalThis, { image })} />);
