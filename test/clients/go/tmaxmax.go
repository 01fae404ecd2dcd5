package main

import (
	"net/http"

	"github.com/tmaxmax/go-sse"
)

// Used as in its README.
func tmaxmax(target Target, hear Hear) error {
	request, err := http.NewRequest(http.MethodGet, target.SSE(), http.NoBody)
	if err != nil {
		return err
	}
	connection := sse.NewConnection(request)
	connection.SubscribeToAll(func(event sse.Event) {
		hear(event.Type, event.Data)
	})
	return connection.Connect()
}
