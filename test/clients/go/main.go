// Runs one client: PROGRAM NAME TARGETS. Prints every message that it receives as a line of JSON.
package main

import (
	"encoding/json"
	"log"
	"net/url"
	"os"
	"sync"
)

// Target is a channel of a node, and where to begin if the default is not wanted.
type Target struct {
	URL     string `json:"url"`
	Channel string `json:"channel"`
	Cursor  string `json:"cursor"`
}

// SSE is the address of the target's event stream.
func (t Target) SSE() string {
	query := url.Values{"channel": {t.Channel}}
	if t.Cursor != "" {
		query.Set("cursor", t.Cursor)
	}
	return t.URL + "/v1/sse?" + query.Encode()
}

// Hear receives each message: its type, or "" if it has none, and its data.
type Hear func(kind, data string)

var clients = map[string]func(Target, Hear) error{
	"r3labs":  r3labs,
	"tmaxmax": tmaxmax,
}

type message struct {
	Target int    `json:"target"`
	Type   string `json:"type"`
	Data   string `json:"data"`
}

func main() {
	var targets []Target
	if err := json.Unmarshal([]byte(os.Args[2]), &targets); err != nil {
		log.Fatal(err)
	}
	follow := clients[os.Args[1]]
	var printing sync.Mutex
	printed := json.NewEncoder(os.Stdout)
	hear := func(target int, kind, data string) {
		if kind == "" {
			kind = "message"
		}
		printing.Lock()
		defer printing.Unlock()
		_ = printed.Encode(message{target, kind, data})
	}
	var following sync.WaitGroup
	for i, target := range targets {
		following.Add(1)
		go func() {
			defer following.Done()
			err := follow(target, func(kind, data string) { hear(i, kind, data) })
			log.Printf("target %d: the client gave up: %v", i, err)
		}()
	}
	following.Wait()
}
