package main

import "github.com/r3labs/sse/v2"

// Used as in its README.
func r3labs(target Target, hear Hear) error {
	client := sse.NewClient(target.SSE())
	return client.SubscribeRaw(func(msg *sse.Event) {
		hear(string(msg.Event), string(msg.Data))
	})
}
