// Command pin moves the packages of the board tests (pins.txt in the directory above) to the
// newest versions in Debian's archive, and prints the new text. make pins runs it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"uringhttpd/test/board/debian"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	text, err := debian.UpdatePins(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pin:", err)
		os.Exit(1)
	}
	fmt.Print(text)
}
