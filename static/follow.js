// Keeps the end of a growing page in view, for as long as the reader is there.
// Only the reader's own scroll stops it.

// Fractions of a pixel and rubber bands count as being at the end.
const AT_END_PIXELS = 24;

export class Follow {
  #scroller;
  #content;
  #jump;
  #isFollowing = true;
  #lastTop = 0;

  /** `content` is what grows in `scroller`; while it is empty nothing is followed. */
  constructor({ scroller, content, jump }) {
    this.#scroller = scroller;
    this.#content = content;
    this.#jump = jump;
    scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    jump.addEventListener("click", () => this.start());
    new ResizeObserver(() => this.grown()).observe(scroller);
  }

  get #distance() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight;
  }

  /** Goes to the end and stays there. */
  start() {
    this.#isFollowing = true;
    this.grown();
  }

  /** To be called after the content changed. */
  grown() {
    if (this.#isFollowing && this.#content.childElementCount) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    else this.#showJump();
  }

  #onScroll() {
    const { scrollTop } = this.#scroller;
    if (this.#distance < AT_END_PIXELS) this.#isFollowing = true;
    // Content that grows or shrinks never moves the view up: this was the reader.
    else if (scrollTop < this.#lastTop) this.#isFollowing = false;
    this.#lastTop = scrollTop;
    this.#showJump();
  }

  #showJump() {
    this.#jump.hidden = this.#isFollowing || !this.#content.childElementCount || this.#distance < AT_END_PIXELS;
  }
}
