// Telemetry: Application Insights on a Log Analytics workspace. Both accept tokens only, no keys.

import { resourceTags } from '../types.bicep'

param workspaceName string
param insightsName string
param location string
param tags resourceTags

@description('Retention of telemetry in days. The first 31 days are free of charge.')
@minValue(30)
@maxValue(730)
param retentionDays int = 30

@description('Gigabytes of telemetry that the workspace accepts in a day; null: no limit. Above it, telemetry is dropped until the next day.')
param dailyCapGb int?

// These tables keep 90 days unless each has a retention of its own.
var insightsTables = [
  'AppAvailabilityResults'
  'AppBrowserTimings'
  'AppDependencies'
  'AppEvents'
  'AppExceptions'
  'AppMetrics'
  'AppPageViews'
  'AppPerformanceCounters'
  'AppRequests'
  'AppSystemEvents'
  'AppTraces'
]

resource workspace 'Microsoft.OperationalInsights/workspaces@2026-03-01' = {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    workspaceCapping: {
      dailyQuotaGb: dailyCapGb ?? -1
    }
    features: {
      disableLocalAuth: true
    }
  }
}

// Azure changes one table of a workspace at a time.
@batchSize(1)
resource tables 'Microsoft.OperationalInsights/workspaces/tables@2026-03-01' = [
  for table in insightsTables: {
    parent: workspace
    name: table
    properties: {
      plan: 'Analytics'
      retentionInDays: retentionDays
      totalRetentionInDays: retentionDays
    }
  }
]

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: insightsName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    IngestionMode: 'LogAnalytics'
    DisableLocalAuth: true
  }
}

@description('An address, not a secret: since local authentication is off, its key gives no access.')
output connectionString string = insights.properties.ConnectionString
