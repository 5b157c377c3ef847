// The workbook "Mailroom": ledger per mailbox, state of the mailboxes, latencies, failures and the latest warnings.

import { resourceTags } from '../types.bicep'

@description('A chart or table of the workbook.')
type Item = {
  name: string
  title: string
  query: string
  visualization: 'table' | 'timechart'
}

param location string
param tags resourceTags

@description('Resource id of the workspace with the metrics.')
param workspaceId string

@description('Name that the portal shows.')
param displayName string

var metrics = loadTextContent('../queries/metrics.kql')

var charts Item[] = [
  {
    name: 'ledger'
    title: 'Ledger: collected = routed + duplicate + unhandled + blocked + failed + waiting + erased'
    query: loadTextContent('../queries/workbook/ledger.kql')
    visualization: 'table'
  }
  {
    name: 'mailboxes'
    title: 'State of the mailboxes'
    query: loadTextContent('../queries/workbook/mailboxes.kql')
    visualization: 'table'
  }
  {
    name: 'collected'
    title: 'Messages collected'
    query: loadTextContent('../queries/workbook/collected.kql')
    visualization: 'timechart'
  }
  {
    name: 'results'
    title: 'Results by route'
    query: loadTextContent('../queries/workbook/results.kql')
    visualization: 'timechart'
  }
  {
    name: 'drain-latency'
    title: 'Seconds from reception by the server to storage'
    query: loadTextContent('../queries/workbook/drain-latency.kql')
    visualization: 'timechart'
  }
  {
    name: 'routing-latency'
    title: 'Seconds from storage to routing'
    query: loadTextContent('../queries/workbook/routing-latency.kql')
    visualization: 'timechart'
  }
  {
    name: 'waiting'
    title: 'Stored messages that wait to be routed'
    query: loadTextContent('../queries/workbook/waiting.kql')
    visualization: 'timechart'
  }
  {
    name: 'unhandled'
    title: 'Unhandled messages by reason'
    query: loadTextContent('../queries/workbook/unhandled.kql')
    visualization: 'table'
  }
  {
    name: 'failures'
    title: 'Errors by class and place'
    query: loadTextContent('../queries/workbook/failures.kql')
    visualization: 'table'
  }
  {
    name: 'log'
    title: 'Latest warnings and errors'
    query: loadTextContent('../queries/workbook/log.kql')
    visualization: 'table'
  }
]

var parameters = {
  type: 9
  name: 'parameters'
  content: {
    version: 'KqlParameterItem/1.0'
    parameters: [
      {
        id: guid(workspaceId, 'TimeRange')
        version: 'KqlParameterItem/1.0'
        name: 'TimeRange'
        label: 'Time range'
        type: 4
        isRequired: true
        value: {
          durationMs: 86400000
        }
        typeSettings: {
          selectableValues: [
            { durationMs: 3600000 }
            { durationMs: 86400000 }
            { durationMs: 604800000 }
            { durationMs: 2592000000 }
          ]
          allowCustom: true
        }
      }
    ]
    style: 'pills'
    queryType: 0
    resourceType: 'microsoft.operationalinsights/workspaces'
  }
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(workspaceId, 'workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: displayName
    category: 'workbook'
    sourceId: workspaceId
    version: '1.0'
    serializedData: string({
      version: 'Notebook/1.0'
      items: concat(
        [parameters],
        map(charts, chart => {
          type: 3
          name: chart.name
          content: {
            version: 'KqlItem/1.0'
            title: chart.title
            query: '${metrics}\n${chart.query}'
            size: 0
            timeContextFromParameter: 'TimeRange'
            queryType: 0
            resourceType: 'microsoft.operationalinsights/workspaces'
            crossComponentResources: [
              workspaceId
            ]
            visualization: chart.visualization
          }
        })
      )
      fallbackResourceIds: [
        workspaceId
      ]
    })
  }
}
