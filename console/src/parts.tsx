// Components that several views share.

import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import UPlot from 'uplot'
import { wordsOf } from './api.ts'
import { clock } from './format.ts'

export function Problem({ error }: { error: unknown }) {
  return error === undefined ? null : (
    <p class="problem" role="alert">
      {wordsOf(error)}
    </p>
  )
}

export function Panel({
  title,
  children,
  wide,
}: {
  title: string
  children: ComponentChildren
  wide?: boolean
}) {
  return (
    <section class={wide ? 'panel wide' : 'panel'}>
      <h2>{title}</h2>
      {children}
    </section>
  )
}

export function Figure({ name, value, note }: { name: string; value: string; note?: string }) {
  return (
    <div class="figure">
      <dt>{name}</dt>
      <dd>
        {value}
        {note !== undefined && <small>{note}</small>}
      </dd>
    </div>
  )
}

export interface Series {
  readonly name: string
  readonly values: readonly number[]
}

const COLORS = ['--one', '--two', '--three', '--four']

/** The value of a custom property in the current theme: canvases don't support `light-dark()`. */
function colorOf(place: HTMLElement, name: string): string {
  const probe = document.createElement('span')
  probe.style.color = `var(${name})`
  place.append(probe)
  const { color } = getComputedStyle(probe)
  probe.remove()
  return color
}

/** A small live plot over the last minutes. `times`: seconds since 1970. */
export function Plot({
  title,
  times,
  series,
  print,
}: {
  title: string
  times: readonly number[]
  series: readonly Series[]
  print: (value: number) => string
}) {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<UPlot | undefined>(undefined)
  const names = series.map(({ name }) => name).join()

  useEffect(() => {
    const div = place.current
    if (div === null) return
    const color = (name: string) => colorOf(div, name)
    const axis = {
      stroke: color('--dim'),
      grid: { stroke: color('--line'), width: 1 },
      ticks: { show: false },
    }
    const made = new UPlot(
      {
        width: div.clientWidth,
        height: 130,
        cursor: { show: false },
        legend: { show: false },
        scales: { y: { range: (_plot, _min, max) => [0, Math.max(max * 1.1, 1)] } },
        axes: [
          { ...axis, size: 24, space: 80, values: (_plot, values) => values.map(time => clock(time * 1000)) },
          { ...axis, size: 56, space: 40, values: (_plot, values) => values.map(print) },
        ],
        series: [
          {},
          ...series.map((each, i) => {
            const stroke = color(COLORS[i % COLORS.length] ?? '--one')
            return { label: each.name, stroke, width: 1.5, points: { show: false } }
          }),
        ],
      },
      [[], ...series.map(() => [])] as UPlot.AlignedData,
      div,
    )
    plot.current = made
    const observer = new ResizeObserver(() => made.setSize({ width: div.clientWidth, height: 130 }))
    observer.observe(div)
    return () => {
      observer.disconnect()
      made.destroy()
      plot.current = undefined
    }
  }, [names])

  useEffect(() => {
    plot.current?.setData([[...times], ...series.map(({ values }) => [...values])] as UPlot.AlignedData)
  }, [times, series])

  const last = series.map(({ name, values }) => `${name} ${print(values.at(-1) ?? 0)}`).join(', ')
  return (
    <figure class="plot">
      <figcaption>
        {title}
        <span class="keys">
          {series.map(({ name, values }, i) => (
            <span key={name} class={`key key${(i % COLORS.length) + 1}`}>
              {name} <b>{print(values.at(-1) ?? 0)}</b>
            </span>
          ))}
        </span>
      </figcaption>
      <div ref={place} role="img" aria-label={`${title}: ${last}`} />
    </figure>
  )
}
