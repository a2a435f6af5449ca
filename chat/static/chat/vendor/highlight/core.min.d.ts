/** What we use of highlight.js; `@highlightjs/cdn-assets` comes without types. */
export interface Highlighter {
  getLanguage(name: string): object | undefined;
  registerLanguage(name: string, grammar: (highlighter: Highlighter) => object): void;
  highlight(code: string, options: { language: string }): { value: string };
}
declare const highlighter: Highlighter;
export default highlighter;
