import { createApp } from "vue";
import Picture from "./Picture.vue";

createApp(Picture, { url: "/cat.png", onImage: (image) => Object.assign(globalThis, { image }) }).mount("#root");
